from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle, find_bundles, open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.entries import COMMIT, MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.errors import BundleError
from vegrt.photo.contract import Contract


def write(path: Path, content: bytes, *, crash: bool = False, extra: str = "") -> None:
    manifest = Manifest(path.name, ("a", "b"), Contract(), {"backbone": "resnet18", "head": "gap"})
    with changing(path) as staging:
        staging.file("weights.safetensors").write_bytes(content)
        staging.add("weights.safetensors", "weights")
        if extra:
            staging.file(extra).write_bytes(b"extra")
            staging.add(extra, "engine", "int8")
        if crash:
            raise RuntimeError("killed")
        staging.finish(manifest)


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def test_a_manifest_survives_the_disk(copied: Bundle) -> None:
    again = open_bundle(copied.path)
    assert again.manifest == copied.manifest
    assert again.variants() == ("fp32", "fp16", "int8", "int8-cpu")
    assert find_bundles(copied.path.parent) == [copied.path]


def test_a_manifest_has_the_format_that_its_contract_needs(copied: Bundle) -> None:
    file = copied.path / MANIFEST
    before = json.loads(file.read_text())
    assert before["format_version"] == 1
    wide = replace(copied.manifest, contract=replace(copied.manifest.contract, fit="stretch")).to_dict()
    assert wide["format_version"] == 2
    for version, contract in ((2, wide["contract"]), (2, before["contract"])):
        file.write_text(json.dumps(before | {"format_version": version, "contract": contract}))
        assert open_bundle(copied.path).manifest.contract == Contract.from_dict(contract)
    file.write_text(json.dumps(before | {"contract": wide["contract"]}))
    with pytest.raises(BundleError, match="contract has keys of format 2 in a bundle of format 1"):
        open_bundle(copied.path)


def test_a_failed_change_leaves_the_bundle_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "m", b"one")
    with pytest.raises(RuntimeError, match="killed"):
        write(tmp_path / "m", b"two", crash=True)
    assert open_bundle(tmp_path / "m").file("weights").read_bytes() == b"one"
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [MANIFEST, "weights.safetensors"]


def test_a_commit_that_was_interrupted_is_read_without_writing_and_finished_by_the_next_change(tmp_path: Path) -> None:
    """Killed after the commit's rename and after one of its files was moved: what is read is the rest, where it lies."""
    write(tmp_path / "m", b"one")
    write(tmp_path / "new", b"two", extra="engines/x/int8.engine")
    shutil.copytree(tmp_path / "new", tmp_path / "m" / COMMIT)
    untouched = open_bundle(tmp_path / "m")
    assert (untouched.file("weights").read_bytes(), untouched.has("engine")) == (b"one", False)
    (tmp_path / "m" / COMMIT / "weights.safetensors").replace(tmp_path / "m/weights.safetensors")
    before = listing(tmp_path / "m")
    for verify in (True, False):
        opened = open_bundle(tmp_path / "m", verify=verify)
        assert opened.file("weights").read_bytes() == b"two"
        assert opened.file("engine", "int8").read_bytes() == b"extra"
    assert listing(tmp_path / "m") == before
    with exclusive(tmp_path / "m"):
        assert not (tmp_path / "m" / COMMIT).exists()
        assert not open_bundle(tmp_path / "m").in_commit
    assert opened.file("engine", "int8").read_bytes() == b"extra"  # though it was opened where it lay before


def test_an_artifact_that_a_change_drops_leaves_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "m", b"one", extra="old.engine")
    (tmp_path / "m/notes.txt").write_text("mine")
    write(tmp_path / "m", b"two")
    assert not (tmp_path / "m/old.engine").exists()
    assert (tmp_path / "m/notes.txt").exists()


def test_one_changed_byte_is_found(copied: Bundle) -> None:
    file = copied.file("model", "int8")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=r"int8\.onnx: damaged \(sha256"):
        open_bundle(copied.path)
    file.write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r"int8\.onnx: damaged \(\d+ bytes"):
        open_bundle(copied.path)
    file.unlink()
    with pytest.raises(BundleError, match=r"int8\.onnx: missing"):
        open_bundle(copied.path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "bundle format 99.*upgrade vegrt"),
        ({"format": "other"}, "not the manifest of a vegrt bundle"),
        ({"contract": {}}, "contract"),
        ({"artifacts": [{"path": "x"}]}, "damaged manifest"),
    ],
)
def test_a_foreign_manifest_is_refused(copied: Bundle, change: dict[str, object], message: str) -> None:
    file = copied.path / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BundleError, match=message):
        open_bundle(copied.path)


@pytest.mark.parametrize("path", ["../weights", "/etc/passwd", "a/../../b"])
def test_an_artifact_outside_the_bundle_is_refused(copied: Bundle, path: str) -> None:
    file = copied.path / MANIFEST
    manifest = json.loads(file.read_text())
    manifest["artifacts"][0]["path"] = path
    file.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="leaves the bundle"):
        open_bundle(copied.path)


def test_the_error_for_a_missing_bundle_says_how_to_make_one(tmp_path: Path, trained: Bundle) -> None:
    with pytest.raises(BundleError, match="no such folder; expected a bundle, made by: vegrt train"):
        open_bundle(tmp_path / "none")
    with pytest.raises(BundleError, match=r"without manifest\.json"):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match="vegrt export"):
        trained.file("model", "int8")


def test_a_commit_whose_manifest_was_already_moved_removes_nothing(tmp_path: Path) -> None:
    """Killed after its last rename: what is left of `.commit` says nothing about the bundle."""
    write(tmp_path / "m", b"one", extra="x.engine")
    (tmp_path / "m" / COMMIT / "engines").mkdir(parents=True)
    with exclusive(tmp_path / "m"):
        opened = open_bundle(tmp_path / "m")
    assert opened.file("engine", "int8").read_bytes() == b"extra"
    assert not (tmp_path / "m" / COMMIT).exists()


def test_a_hostile_commit_cannot_delete_what_lies_outside(tmp_path: Path) -> None:
    write(tmp_path / "m", b"one")
    write(tmp_path / "m2", b"two")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    manifest = json.loads((tmp_path / "m" / MANIFEST).read_text())
    manifest["artifacts"] += [manifest["artifacts"][0] | {"path": path} for path in (str(victim), "../victim")]
    (tmp_path / "m" / MANIFEST).write_text(json.dumps(manifest))
    shutil.copytree(tmp_path / "m2", tmp_path / "m" / COMMIT)
    with pytest.raises(BundleError, match="leaves the bundle"):
        open_bundle(tmp_path / "m")
    write(tmp_path / "m", b"three")
    assert open_bundle(tmp_path / "m").file("weights").read_bytes() == b"three"
    assert victim.read_text() == "mine"


def test_two_changes_at_once_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "m", b"one")
    with changing(tmp_path / "m") as staging:
        with pytest.raises(BundleError, match="another process is changing it"):
            write(tmp_path / "m", b"two")
        staging.file("weights.safetensors").write_bytes(b"three")
        staging.add("weights.safetensors", "weights")
        staging.finish(open_bundle(tmp_path / "m").manifest)
    assert open_bundle(tmp_path / "m").file("weights").read_bytes() == b"three"
