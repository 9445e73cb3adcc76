"""A bundle's folder from a stranger: links, pipes and odd names in it are refused, and nothing outside is written or deleted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import failure
from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing, exclusive
from vegrt.bundle.entries import COMMIT, MANIFEST
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack
from vegrt.errors import BundleError
from vegrt.infer.api import load
from vegrt.photo.contract import Contract

PLACES = (
    MANIFEST,
    "weights.safetensors",
    "engines",
    "engines/x",
    "engines/x/int8.engine",
    "signature.json",
    "results",
    "results/bench.json",
    "notes.txt",
    "golden",
    ".train",
    ".calibrating",
    COMMIT,
    f"{COMMIT}/{MANIFEST}",
    f"{COMMIT}/results",
    f"{COMMIT}/engines/x/int8.engine",
)


@pytest.fixture
def received(tmp_path: Path) -> Path:
    """A bundle with an unfinished change in it, and a folder beside it that is not its own."""
    for path, content in ((tmp_path / "b", "one"), (tmp_path / "new", "two")):
        with changing(path) as staging:
            for name, role in (("weights.safetensors", "weights"), ("engines/x/int8.engine", "engine")):
                staging.file(name).write_text(content)
                staging.add(name, role)  # type: ignore[arg-type]
            staging.finish(Manifest("b", ("a", "b"), Contract(), {}))
    shutil.copytree(tmp_path / "new", tmp_path / "b" / COMMIT)
    (tmp_path / "b/results").mkdir()
    (tmp_path / "b/results/bench.json").write_text("{}")
    return tmp_path / "b"


def everything(folder: Path) -> dict[str, Any]:
    states = {path: path.lstat() for path in folder.rglob("*")}
    return {str(path): (known.st_ino, known.st_mtime_ns, known.st_size) for path, known in states.items()}


def _read(bundle: Path) -> None:
    open_bundle(bundle, verify=False)


def _pack(bundle: Path) -> None:
    pack(bundle, bundle.parent / "out.zip")


def _hold(bundle: Path) -> None:
    with exclusive(bundle):
        pass


def _change(bundle: Path) -> None:
    with changing(bundle) as staging:
        staging.finish(Manifest("b", ("a", "b"), Contract(), {}))


@pytest.mark.parametrize("use", [open_bundle, _read, load, _pack, _hold, _change])
@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
@pytest.mark.parametrize("place", PLACES)
def test_a_link_anywhere_in_a_bundle_is_refused_and_leads_nowhere(
    received: Path, place: str, kind: str, use: Callable[[Path], Any]
) -> None:
    link, outside = received / place, received.parent / "outside"
    if link.exists():
        shutil.move(link, outside)
    else:
        outside.mkdir()
    if kind == "pipe":
        os.mkfifo(link)
    else:
        link.symlink_to(outside if kind == "link" else received.parent / "nowhere")
    before = everything(received.parent)
    with pytest.raises(BundleError) as caught:
        use(received)
    assert "\n" not in str(caught.value)
    assert str(link) in str(caught.value)
    assert everything(received.parent) == before


def test_the_bundle_itself_may_be_reached_by_a_link(received: Path) -> None:
    (received.parent / "latest").symlink_to(received)
    assert open_bundle(received.parent / "latest").file("weights").read_text() == "one"


@pytest.mark.parametrize(
    "command",
    ["infer PHOTO --bundle B", "verify B", "report B", "bundle pack B OUT.zip", "export B --data .", "compare B"],
)
def test_every_command_reports_a_link_in_one_line(received: Path, command: str) -> None:
    (received / "results/bench.json").unlink()
    (received / "results/bench.json").symlink_to("/etc/hostname")
    (received.parent / "photo.jpg").touch()
    places = {"B": received, "PHOTO": received.parent / "photo.jpg", "OUT.zip": received.parent / "out.zip"}
    assert "results/bench.json: a link" in failure(*[places.get(word, word) for word in command.split()])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([""], "not a plain relative path"),
        (["."], "not a plain relative path"),
        (["./a"], "not a plain relative path"),
        (["a//b"], "not a plain relative path"),
        (["a/"], "not a plain relative path"),
        (["a\\b"], "not a plain relative path"),
        (["a\0b"], "string with a NUL character"),
        (["a\nb"], "not a plain relative path"),
        (["\ud800"], "unpaired surrogate"),
        (["a" * 256], "not a plain relative path"),
        (["a/" * 600 + "a"], "not a plain relative path"),
        ([".commit/x"], "not a plain relative path"),
        ([".staging-x"], "not a plain relative path"),
        (["engines/.x"], "not a plain relative path"),
        (["/etc/passwd"], "leaves the bundle"),
        (["engines/../../x"], "leaves the bundle"),
        ([MANIFEST], "reserved"),
        (["signature.json"], "reserved"),
        (["results/bench.json"], "reserved"),
        (["a", "a"], "listed twice"),
        ([7], "damaged manifest"),
        ([None], "damaged manifest"),
    ],
)
def test_a_path_that_a_manifest_may_not_list(received: Path, names: list[Any], message: str) -> None:
    shutil.rmtree(received / COMMIT)
    manifest = json.loads((received / MANIFEST).read_text())
    manifest["artifacts"] = [manifest["artifacts"][0] | {"path": name} for name in names]
    (received / MANIFEST).write_text(json.dumps(manifest))
    for use in (open_bundle, _read):
        with pytest.raises(BundleError, match=message) as caught:
            use(received)
        assert "\n" not in str(caught.value)
