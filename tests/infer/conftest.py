"""A bundle that knows when to trust fp32."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import made_once
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.dataset.photos import read_split
from vegrt.evaluate.trust.fit import fit_trust
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.trust.store import save_trust


@pytest.fixture(scope="session")
def trusted(bundle: Bundle, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The exported bundle with trust.json about fp32 on ONNX Runtime, which accepts from probability 0.9. Read only."""

    def make(root: Path) -> None:
        shutil.copytree(bundle.path, root / "small")
        learned = fit_trust(
            bundle, read_split(photos, "validation"), [Candidate("fp32", "onnxruntime")], max_error=0.01
        )
        (row,) = learned.candidates
        rule = replace(row.abstention, threshold=0.9)
        save_trust(root / "small", replace(learned, candidates=(replace(row, abstention=rule),)))

    return open_bundle(made_once(tmp_path_factory, "trusted", make) / "small")
