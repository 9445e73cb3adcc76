"""A small disk for tests of full ones."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """A function that has the system refuse to write beyond so many bytes of a file, as on a full disk; undone at the end."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores the signal that comes with it
    yield lambda size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
