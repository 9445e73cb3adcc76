"""What fuzzing (tests/slow/fuzz) found once: each input of tests/corpus ends in a result or in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slow.fuzz.targets import TARGETS
from tests.slow.fuzz.worker import outcome_of

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(file for file in CORPUS.rglob("*") if file.is_file())
NAMED = {target.name: target for target in TARGETS}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CORPUS).as_posix())
def test_an_input_that_was_a_fault_is_read_or_refused(file: Path, tmp_path: Path) -> None:
    outcome = outcome_of(NAMED[file.parent.name], file.read_bytes(), tmp_path)
    assert outcome.kind in ("accepted", "refused"), outcome.text


def test_the_corpus_is_small() -> None:
    assert FILES
    assert sum(file.stat().st_size for file in FILES) < 200_000
