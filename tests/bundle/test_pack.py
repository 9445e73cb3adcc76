"""A bundle as one file: the same bytes every time, and nothing but a verified bundle comes out of a file."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import MANIFEST, check_relative_path
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack, unpack
from vegrt.errors import BundleError, VegrtError
from vegrt.files.hashing import sha256_of
from vegrt.photo.contract import Contract

SUFFIXES = (".zip", ".tar.zst")
Members = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a few bytes, with a result, a note that the manifest does not list, and a name beyond ASCII."""
    path = tmp_path_factory.mktemp("packed") / "small"
    with changing(path) as staging:
        for name, role in (("weights.safetensors", "weights"), ("engines/größe/int8.engine", "engine")):
            staging.file(name).write_bytes(name.encode() * 1000)
            staging.add(name, role)  # type: ignore[arg-type]
        staging.finish(Manifest("small", ("a", "b"), Contract(), {}))
    (path / "results").mkdir()
    (path / "results/bench.json").write_text("{}")
    (path / "notes.txt").write_text("mine")
    return path


def members_of(bundle: Path) -> Members:
    names = (MANIFEST, "engines/größe/int8.engine", "weights.safetensors", "results/bench.json")
    return [(name, (bundle / name).read_bytes()) for name in names]


def tar_of(members: Members, *, kind: bytes = tarfile.REGTYPE, **options: Any) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=options.get("format", tarfile.USTAR_FORMAT)) as archive:
        for index, (name, content) in enumerate(members):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            if index == len(members) - 1:
                entry.type, entry.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
            archive.addfile(entry, io.BytesIO(content))
    return zstandard.ZstdCompressor().compress(raw.getvalue())


def zip_of(members: Members, *, mode: int = 0o100644, **options: Any) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as archive:
        for index, (name, content) in enumerate(members):
            entry = zipfile.ZipInfo("x")
            entry.filename, entry.compress_type = name, archive.compression
            entry.external_attr = (mode if index == len(members) - 1 else 0o100644) << 16
            archive.writestr(entry, content)
    return raw.getvalue()


def write(folder: Path, suffix: str, members: Members, **options: Any) -> Path:
    file = folder / f"hostile{suffix}"
    file.write_bytes(zip_of(members, **options) if suffix == ".zip" else tar_of(members, **options))
    return file


def refused(file: Path, message: str) -> None:
    """Assert that unpacking fails with the message and leaves nothing behind."""
    before = sorted(file.parent.rglob("*"))
    with pytest.raises(VegrtError, match=message) as caught:
        unpack(file, file.parent / "out")
    assert str(file) in str(caught.value)
    assert sorted(file.parent.rglob("*")) == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bundle_comes_out_as_it_went_in(small: Path, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{suffix}"
    names = pack(small, file)
    assert names == [MANIFEST, "engines/größe/int8.engine", "weights.safetensors", "results/bench.json"]
    opened = unpack(file, tmp_path / "out")
    assert opened.manifest == open_bundle(tmp_path / "out").manifest == open_bundle(small).manifest
    names_unpacked = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert names_unpacked == sorted(names)
    assert [(tmp_path / "out" / name).read_bytes() for name in names] == [(small / name).read_bytes() for name in names]
    assert (tmp_path / "out").stat().st_mode == small.stat().st_mode


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_bundle_gives_the_same_bytes(small: Path, suffix: str, tmp_path: Path) -> None:
    pack(small, tmp_path / f"a{suffix}")
    copied = tmp_path / "copied"
    shutil.copytree(small, copied)
    os.utime(copied / "weights.safetensors", (1e9, 1e9))
    (copied / "weights.safetensors").chmod(0o755)
    pack(copied, tmp_path / f"b{suffix}")
    assert sha256_of(tmp_path / f"a{suffix}") == sha256_of(tmp_path / f"b{suffix}")


def test_other_tools_read_the_archives(small: Path, tmp_path: Path) -> None:
    pack(small, tmp_path / "a.zip")
    assert zipfile.ZipFile(tmp_path / "a.zip").testzip() is None
    pack(small, tmp_path / "a.tar.zst")
    raw = zstandard.ZstdDecompressor().stream_reader((tmp_path / "a.tar.zst").read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        entries = archive.getmembers()
    assert {(entry.mode, entry.mtime, entry.uid, entry.uname) for entry in entries} == {(0o644, 0, 0, "")}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_changed_byte_of_a_file_is_found(small: Path, suffix: str, tmp_path: Path) -> None:
    members = members_of(small)
    members[2] = (members[2][0], b"X" + members[2][1][1:])
    refused(write(tmp_path, suffix, members), r"weights\.safetensors is damaged \(sha256")
    members[2] = (members[2][0], members[2][1] + b"X")
    refused(write(tmp_path, suffix, members), r"weights\.safetensors has 19001 bytes, but 19000 in the manifest")
    refused(write(tmp_path, suffix, members_of(small)[:2]), r"weights\.safetensors is missing \(2 files")
    refused(write(tmp_path, suffix, members_of(small)[1:]), r"does not begin with manifest\.json")
    refused(write(tmp_path, suffix, [*members_of(small), ("surplus", b"x")]), "'surplus' is not listed in the manifest")
    refused(write(tmp_path, suffix, [*members_of(small), ("results/x.sh", b"x")]), "not listed in the manifest")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_name_is_refused(small: Path, suffix: str, tmp_path: Path) -> None:
    members = members_of(small)
    refused(write(tmp_path, suffix, [*members, members[1]]), r"'engines/größe/int8\.engine' occurs twice")
    refused(write(tmp_path, suffix, [*members, members[0]]), r"'manifest\.json' occurs twice")


def test_only_plain_files_are_unpacked(small: Path, tmp_path: Path) -> None:
    members = [*members_of(small)[:2], ("weights.safetensors", b"")]
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        refused(write(tmp_path, ".tar.zst", members, kind=kind), "is not a plain file")
    for mode in (0o120777, 0o020644, 0o040755, 0o010644):
        refused(write(tmp_path, ".zip", members, mode=mode), r"'weights\.safetensors' is not a plain file")
    refused(write(tmp_path, ".zip", [*members_of(small), ("results/", b"")]), "'results/' is not a plain file")
    refused(write(tmp_path, ".zip", members_of(small), compression=zipfile.ZIP_LZMA), "has an unknown compression")
    long = [*members_of(small), ("a" * 300, b"")]
    refused(write(tmp_path, ".tar.zst", long, format=tarfile.GNU_FORMAT), "is not a plain file")
    refused(write(tmp_path, ".tar.zst", long, format=tarfile.PAX_FORMAT), "is not a plain file")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bomb_is_refused_before_it_fills_the_disk(small: Path, suffix: str, tmp_path: Path) -> None:
    """Zeros that pack to nothing, declared as themselves, as one huge artifact of the manifest, and as a result."""
    members, zeros = members_of(small), bytes(1 << 24)
    refused(write(tmp_path, suffix, [*members[:2], ("weights.safetensors", zeros)]), "has 16777216 bytes, but")
    manifest = json.loads(members[0][1])
    manifest["artifacts"][0]["size_bytes"] = 1 << 60
    bomb = [(MANIFEST, json.dumps(manifest).encode()), *members[1:]]
    refused(write(tmp_path, suffix, bomb), r"needs .* MB, .* has .* MB free")
    manifest["artifacts"][0]["size_bytes"] = "many"
    refused(
        write(tmp_path, suffix, [(MANIFEST, json.dumps(manifest).encode())]),
        "size_bytes is 'many'; expected a whole number",
    )
    refused(
        write(tmp_path, suffix, [*members, *((f"results/{n}.json", b"") for n in range(101))]), "exceeds the limits"
    )
    refused(write(tmp_path, suffix, [(MANIFEST, bytes(17 << 20))]), r"does not begin with manifest\.json")


def test_a_zip_that_holds_more_than_it_declares_is_refused(small: Path, tmp_path: Path) -> None:
    members = members_of(small)
    content = zip_of(members[:3])
    declared, real = (len(members[2][1]) + delta for delta in (0, -1))
    at = content.rindex(declared.to_bytes(4, "little"))  # of the last entry of the central directory
    lying = content[:at] + real.to_bytes(4, "little") + content[at + 4 :]
    (tmp_path / "lying.zip").write_bytes(lying)
    refused(tmp_path / "lying.zip", "has 18999 bytes, but 19000 in the manifest")


NAMES = st.text(st.sampled_from("ab./\\:\0\n~-é"), min_size=1, max_size=12) | st.sampled_from(
    ["../x", "/etc/x", "a/../../x", "C:\\x", "//x", "./x", ".commit/x", "results/../../x.json", "a//b", "x/", "..", "."]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES, suffix=st.sampled_from(SUFFIXES))
def test_no_name_leads_out_of_the_folder(small: Path, tmp_path: Path, name: str, suffix: str) -> None:
    """The manifest lists the hostile name too: only the name itself may refuse it."""
    content = b"owned"
    manifest = json.loads((small / MANIFEST).read_bytes())
    manifest["artifacts"] = [
        {"path": name, "role": "engine", "variant": "", "size_bytes": 5, "details": {}}
        | {"sha256": "9d709dde0d0d5f56d8ab8a4ccfcdb0d9ad2b0ff1ed6a71b3e7a4eae6c4b9b1d2"}
    ]
    base = tmp_path / "base"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir()
    file = write(base, suffix, [(MANIFEST, json.dumps(manifest).encode()), (name, content)])
    with pytest.raises(VegrtError):
        unpack(file, base / "out")
    assert [path.name for path in base.iterdir()] == [file.name]
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


@settings(max_examples=300, deadline=None)
@given(name=NAMES)
def test_an_accepted_name_stays_inside_the_folder(name: str) -> None:
    try:
        check_relative_path("x", name)
    except BundleError:
        return
    assert (Path("/base/out") / name).resolve().is_relative_to("/base/out/")
    assert not name.startswith(".")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(SUFFIXES))
def test_damage_anywhere_is_one_error_or_no_harm(small: Path, tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    file, out = tmp_path / f"damaged{suffix}", tmp_path / "out"
    content = bytearray(zip_of(members_of(small)) if suffix == ".zip" else tar_of(members_of(small)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        unpack(file, out)
    except VegrtError:
        assert sorted(path.name for path in tmp_path.iterdir()) == [file.name]
    else:
        open_bundle(out)


def test_the_command_line(bundle: Bundle, small: Path, tmp_path: Path) -> None:
    packed = answer("bundle", "pack", bundle.path, tmp_path / "b.tar.zst")
    assert len(packed["files"]) == len(bundle.manifest.artifacts) + 1
    unpacked = call("bundle", "unpack", tmp_path / "b.tar.zst", tmp_path / "back")
    assert "artifacts verified (fp32, fp16, int8, int8-cpu)" in unpacked.stdout
    assert open_bundle(tmp_path / "back").sha256() == bundle.sha256()
    for words, message in (
        (("pack", small, tmp_path / "a.rar"), "expected a name that ends in .zip or .tar.zst"),
        (("pack", tmp_path / "none", tmp_path / "a.zip"), "expected a bundle"),
        (("unpack", tmp_path / "none.zip", tmp_path / "x"), "no such file"),
        (("unpack", tmp_path / "b.tar.zst", tmp_path / "back"), "exists and is not an empty folder"),
        (("unpack", tmp_path / "b.tar.zst", tmp_path / "b.tar.zst"), "exists and is not an empty folder"),
    ):
        assert message in failure("bundle", *words)


def test_the_checksum_after_the_last_member_is_checked(small: Path, tmp_path: Path) -> None:
    """It is all that covers the manifest of a bundle that nobody signed."""
    pack(small, tmp_path / "m.tar.zst")
    content = (tmp_path / "m.tar.zst").read_bytes()
    (tmp_path / "m.tar.zst").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="damaged"):
        unpack(tmp_path / "m.tar.zst", tmp_path / "out")
    assert not (tmp_path / "out").exists()
