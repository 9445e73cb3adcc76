from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner

from vegrt.bundle import MANIFEST, SIGNATURE, Manifest, changing, open_bundle
from vegrt.cli import app
from vegrt.errors import BundleError
from vegrt.pack import pack, unpack
from vegrt.preprocess import Contract
from vegrt.signature import check_signature, sign

PRIVATE, PUBLIC = (Encoding.PEM, PrivateFormat.PKCS8), (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A small bundle, signed with key.pem; key.pub and other.pub lie beside it."""
    for name in ("key", "other"):
        private = Ed25519PrivateKey.generate()
        (tmp_path / f"{name}.pem").write_bytes(private.private_bytes(*PRIVATE, NoEncryption()))
        (tmp_path / f"{name}.pub").write_bytes(private.public_key().public_bytes(*PUBLIC))
    with changing(tmp_path / "m") as staging:
        staging.file("weights.safetensors").write_bytes(b"weights")
        staging.add("weights.safetensors", "weights")
        staging.finish(Manifest("m", ("a", "b"), Contract(), {}))
    sign(tmp_path / "m", tmp_path / "key.pem")
    return tmp_path / "m"


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def failure(*words: object) -> str:
    result = call(*words)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1), result.output
    return str(result.stderr)


def test_a_signature_is_of_one_key_and_one_manifest(signed: Path) -> None:
    key = signed.parent / "key.pub"
    fingerprint = check_signature(signed, key)
    result = call("verify", signed, "--public-key", key)
    assert result.exit_code == 0, result.output
    assert f"ok   signature: of this manifest, by key {fingerprint}" in result.stdout
    assert "signed by another key" in failure("verify", signed, "--public-key", signed.parent / "other.pub")
    manifest = json.loads((signed / MANIFEST).read_text())
    (signed / MANIFEST).write_text(json.dumps(manifest | {"name": "other"}))
    assert "manifest.json was changed after it was signed" in failure("verify", signed, "--public-key", key)
    assert call("verify", signed).exit_code == 0
    assert call("bundle", "sign", signed, "--key", signed.parent / "key.pem").exit_code == 0
    assert check_signature(signed, key) == fingerprint


def test_a_changed_file_is_found_behind_a_true_signature(signed: Path) -> None:
    (signed / "weights.safetensors").write_bytes(b"WEIGHTS")
    assert "weights.safetensors: damaged" in failure("verify", signed, "--public-key", signed.parent / "key.pub")
    assert "damaged" in failure("bundle", "sign", signed, "--key", signed.parent / "key.pem")


def test_a_signature_that_lies_about_itself_is_false(signed: Path) -> None:
    """The hints name the right key and the right manifest, but another key signed."""
    key = signed.parent / "key.pub"
    right = json.loads((signed / SIGNATURE).read_text())
    sign(signed, signed.parent / "other.pem")
    wrong = json.loads((signed / SIGNATURE).read_text())
    (signed / SIGNATURE).write_text(json.dumps(right | {"signature": wrong["signature"]}))
    with pytest.raises(BundleError, match="the signature is false; do not trust it"):
        check_signature(signed, key)
    (signed / SIGNATURE).write_text(json.dumps(right | {"algorithm": "none"}))
    with pytest.raises(BundleError, match="algorithm 'none'; expected ed25519"):
        check_signature(signed, key)
    for damaged in ("{", "[]", json.dumps(right | {"signature": "###"}), json.dumps(right | {"signature": "AAAA"})):
        (signed / SIGNATURE).write_text(damaged)
        with pytest.raises(BundleError, match=r"damaged signature|signature is false"):
            check_signature(signed, key)
    (signed / SIGNATURE).unlink()
    assert "no signature in it" in failure("verify", signed, "--public-key", key)


def test_a_signature_travels_with_the_bundle(signed: Path) -> None:
    for suffix in (".zip", ".tar.zst"):
        pack(signed, signed.parent / f"p{suffix}")
        out = unpack(signed.parent / f"p{suffix}", signed.parent / f"out{suffix}").path
        assert check_signature(out, signed.parent / "key.pub")
        assert open_bundle(out).manifest.name == "m"


def test_what_is_no_ed25519_key_is_one_line(signed: Path) -> None:
    folder, curve = signed.parent, ec.generate_private_key(ec.SECP256R1())
    (folder / "ec.pem").write_bytes(curve.private_bytes(*PRIVATE, NoEncryption()))
    (folder / "ec.pub").write_bytes(curve.public_key().public_bytes(*PUBLIC))
    locked = Ed25519PrivateKey.generate().private_bytes(*PRIVATE, BestAvailableEncryption(b"secret"))
    (folder / "locked.pem").write_bytes(locked)
    (folder / "text.pem").write_text("not a key")
    for name, message in (
        ("ec.pem", "a private key, but not an ed25519 one; make one: openssl genpkey"),
        ("locked.pem", "no PEM private key without a passphrase"),
        ("text.pem", "no PEM private key"),
        ("key.pub", "no PEM private key"),
        ("none.pem", "key cannot be read"),
    ):
        assert message in failure("bundle", "sign", signed, "--key", folder / name)
    for name, message in (("ec.pub", "not an ed25519 one"), ("text.pem", "no PEM public key; make one: openssl pkey")):
        assert message in failure("verify", signed, "--public-key", folder / name)
