"""All targets."""

from __future__ import annotations

from tests.slow.fuzz import answers, archives, commands, documents, images, models, requests
from tests.slow.fuzz.target import Target

TARGETS: tuple[Target, ...] = (
    *images.TARGETS,
    *archives.TARGETS,
    *documents.TARGETS,
    *answers.TARGETS,
    *models.TARGETS,
    *requests.TARGETS,
    *commands.TARGETS,
)
