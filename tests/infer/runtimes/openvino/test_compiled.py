"""OpenVINO's compiled models in the user's cache: the same answers, never those of another file, never a failure."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vegrt.bundle.bundle import Bundle
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.open import open_candidate
from vegrt.infer.runtimes.openvino.compiled import compile_model, compiled_models

pytest.importorskip("openvino")
INT8 = Candidate("int8-cpu", "openvino")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of compiled models, in a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return compiled_models().folder


@pytest.fixture
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 255, (2, 48, 48, 3), np.uint8)


def stored(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("variant", ["fp32", "int8", "int8-cpu"])
def test_a_kept_model_gives_the_same_answers(
    bundle: Bundle, images: NDArray[np.uint8], folder: Path, variant: str
) -> None:
    candidate = Candidate(variant, "openvino")
    first = open_candidate(bundle, candidate, threads=1)
    (blob,) = stored(folder)
    before = blob.stat()
    again = open_candidate(bundle, candidate, threads=1)
    np.testing.assert_array_equal(again.logits(images), first.logits(images))
    assert [path.name for path in stored(folder)] == [blob.name]
    assert blob.stat().st_ino == before.st_ino  # it was read, not written again
    open_candidate(bundle, candidate, threads=2)
    assert len(stored(folder)) == 2  # other settings, another model


def test_a_kept_model_has_its_settings_and_its_embeddings(
    bundle: Bundle, images: NDArray[np.uint8], folder: Path
) -> None:
    artifact = bundle.artifact("model", "int8-cpu")
    for _ in range(2):
        compiled = compile_model(bundle.file("model", "int8-cpu"), threads=1, sha256=artifact.sha256)
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    compiled, kept = (open_candidate(bundle, INT8, threads=1, embeddings=True).answers(images) for _ in range(2))
    assert len(stored(folder)) == 2
    assert kept.embeddings is not None
    assert compiled.embeddings is not None
    np.testing.assert_array_equal(kept.embeddings, compiled.embeddings)


@pytest.mark.parametrize("intact", [False, True])
def test_a_damaged_model_is_compiled_again(
    bundle: Bundle, images: NDArray[np.uint8], folder: Path, *, intact: bool
) -> None:
    expected = open_candidate(bundle, INT8, threads=1).logits(images)
    (blob,) = stored(folder)
    damaged = b"not a model" * 99
    blob.write_bytes(damaged + (zlib.crc32(damaged).to_bytes(4, "little") if intact else b""))
    np.testing.assert_array_equal(open_candidate(bundle, INT8, threads=1).logits(images), expected)
    assert stored(folder) == [blob]
    assert blob.stat().st_size > 100 * len(damaged)


def test_a_file_that_was_replaced_meanwhile_is_not_kept(bundle: Bundle, folder: Path) -> None:
    other = bundle.artifact("model", "fp32").sha256
    compile_model(bundle.file("model", "int8-cpu"), threads=1, sha256=other)
    assert not stored(folder)
    compile_model(bundle.file("model", "int8-cpu"), threads=1)  # nothing is known of the file
    assert not stored(folder)


def test_a_cache_that_cannot_be_written_is_no_error(
    bundle: Bundle, images: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert open_candidate(bundle, INT8, threads=1).logits(images).shape == (2, 3)
