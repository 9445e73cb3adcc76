"""Signatures by OpenSSF model signing, verified by its own command line, which knows nothing of vegrt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.command_line import answer, failure
from tests.keys import Keys, write_keys
from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import MODEL_SIGNATURE
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.model_signature import check_model_signature, sign_model
from vegrt.bundle.pack import pack, unpack
from vegrt.bundle.signature import open_signed, sign
from vegrt.errors import BundleError
from vegrt.evaluate.verify import verify
from vegrt.photo.contract import Contract


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return write_keys(tmp_path, "ec", curve=ec.SECP256R1())


@pytest.fixture
def signed(tmp_path: Path, keys: Keys) -> Path:
    """A small bundle with a result, signed by OpenSSF model signing."""
    with changing(tmp_path / "m") as staging:
        staging.file("weights.safetensors").write_bytes(b"weights")
        staging.add("weights.safetensors", "weights")
        staging.finish(Manifest("m", ("a", "b"), Contract(), {}))
    (tmp_path / "m/results").mkdir()
    (tmp_path / "m/results/bench.json").write_text("{}")
    sign_model(tmp_path / "m", keys.private)
    return tmp_path / "m"


def openssf(path: Path, public: Path) -> subprocess.CompletedProcess[str]:
    """Run the package's own verification."""
    words = ["verify", "key", path, "--signature", path / MODEL_SIGNATURE, "--public_key", public]
    return subprocess.run([sys.executable, "-m", "model_signing", *map(str, words)], capture_output=True, text=True)


def test_its_own_command_line_verifies_the_bundle_wherever_it_lies(signed: Path, keys: Keys, tmp_path: Path) -> None:
    sign(signed, write_keys(tmp_path, "ed").private)  # beside it, before or after
    pack(signed, tmp_path / "packed.zip")
    out = unpack(tmp_path / "packed.zip", tmp_path / "elsewhere/m").path
    verified = openssf(out, keys.public)
    assert (verified.returncode, "Verification succeeded" in verified.stdout) == (0, True), verified.stderr
    assert open_signed(out, tmp_path / "ed.pub").signed is not None
    (out / "weights.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(BundleError, match=r"does not match .*weights\.safetensors"):
        check_model_signature(open_bundle(out, verify=False), keys.public)


def test_we_verify_what_its_command_line_verifies(signed: Path, keys: Keys, tmp_path: Path) -> None:
    bundle = open_bundle(signed)
    fingerprint = check_model_signature(bundle, keys.public)
    checks = {check.subject: check for check in verify(bundle, keys.public)}
    assert str(checks[MODEL_SIGNATURE]) == f"ok      model.sig: covers all files as they are, by key {fingerprint}"
    other = write_keys(tmp_path, "other", curve=ec.SECP384R1())
    assert "do not trust the bundle" in failure("verify", signed, "--model-signing-key", other.public)
    (signed / "results/bench.json").write_text("[]")
    assert "results/bench.json" in failure("verify", signed, "--model-signing-key", keys.public)
    (signed / "results/bench.json").write_text("{}")
    (signed / "results/evaluate.json").write_text("{}")
    assert "Extra files" in failure("verify", signed, "--model-signing-key", keys.public)
    assert answer("bundle", "sign", signed, "--model-signing", "--key", keys.private) == {
        "bundle": str(signed),
        "public_key_sha256_begins": fingerprint,
    }
    assert check_model_signature(open_bundle(signed), keys.public) == fingerprint


def test_a_signature_that_another_key_could_not_make_is_refused(signed: Path, keys: Keys, tmp_path: Path) -> None:
    """The hint in the signature is that of the right key, but another one signed."""
    right = json.loads((signed / MODEL_SIGNATURE).read_text())
    sign_model(signed, write_keys(tmp_path, "other", curve=ec.SECP256R1()).private)
    wrong = json.loads((signed / MODEL_SIGNATURE).read_text())
    wrong["verificationMaterial"] = right["verificationMaterial"]
    for content in (json.dumps(wrong), "{", "[]", "{}", ""):
        (signed / MODEL_SIGNATURE).write_text(content)
        with pytest.raises(BundleError, match="do not trust the bundle"):
            check_model_signature(open_bundle(signed), keys.public)
    (signed / MODEL_SIGNATURE).unlink()
    assert "no model.sig; the bundle's maker adds one with" in failure(
        "verify", signed, "--model-signing-key", keys.public
    )


def test_a_file_that_is_not_part_of_the_bundle_is_not_signed(signed: Path, keys: Keys) -> None:
    before = (signed / MODEL_SIGNATURE).read_bytes()
    (signed / "notes.txt").write_text("x")
    with pytest.raises(BundleError, match=r"holds .*notes\.txt, which is not part of the bundle \(1 such files\)"):
        sign_model(signed, keys.private)
    (signed / "notes.txt").unlink()
    (signed / "weights.safetensors").write_bytes(b"WEIGHTS")
    with pytest.raises(BundleError, match="damaged"):
        sign_model(signed, keys.private)
    assert (signed / MODEL_SIGNATURE).read_bytes() == before


def test_only_keys_of_its_curves_are_taken(signed: Path, keys: Keys, tmp_path: Path) -> None:
    for pair in (write_keys(tmp_path, "ed"), write_keys(tmp_path, "k1", curve=ec.SECP256K1())):
        private = failure("bundle", "sign", signed, "--model-signing", "--key", pair.private)
        assert "not a private key of NIST P-256, P-384 or P-521; make one with: openssl ecparam" in private
        public = failure("verify", signed, "--model-signing-key", pair.public)
        assert "not a public key of NIST P-256, P-384 or P-521" in public
    assert "not an ed25519 private key" in failure("bundle", "sign", signed, "--key", keys.private)
    assert "not a PEM private key" in failure(
        "bundle", "sign", signed, "--model-signing", "--key", signed / "manifest.json"
    )
    assert "cannot be read" in failure("bundle", "sign", signed, "--model-signing", "--key", tmp_path / "none.pem")


def test_a_bundle_may_not_list_the_signature_as_an_artifact(signed: Path) -> None:
    manifest = json.loads((signed / "manifest.json").read_text())
    manifest["artifacts"][0]["path"] = MODEL_SIGNATURE
    (signed / "manifest.json").write_text(json.dumps(manifest))
    assert f"'{MODEL_SIGNATURE}' is reserved" in failure("verify", signed)


def test_a_missing_package_is_one_line(signed: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    for words in (
        ("bundle", "sign", signed, "--model-signing", "--key", keys.private),
        ("verify", signed, "--model-signing-key", keys.public),
    ):
        assert failure(*words).endswith("pip install 'vegrt[supply-chain]'")
