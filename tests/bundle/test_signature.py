from __future__ import annotations

import base64
import json
from collections.abc import Callable
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
    load_pem_private_key,
)

from tests.command_line import call, failure
from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.entries import MANIFEST, SIGNATURE
from vegrt.bundle.manifest import Manifest
from vegrt.bundle.pack import pack, unpack
from vegrt.bundle.signature import changed_results, open_signed, sign, signed_text
from vegrt.errors import BundleError
from vegrt.evaluate.verify import signature_checks
from vegrt.infer.api import load
from vegrt.infer.runtimes.choice import choose
from vegrt.photo.contract import Contract
from vegrt.results.benchmark import Bench
from vegrt.results.convert import from_dict, to_dict
from vegrt.results.evaluation import Evaluation
from vegrt.results.files import save_result
from vegrt.results.header import header_fields

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


def signer(path: Path, key: Path) -> str:
    """Return the fingerprint of the key that signed a bundle."""
    signature = open_signed(path, key, verify=False).signed
    assert signature is not None
    return signature.fingerprint


def test_a_signature_fits_one_key_and_one_manifest(signed: Path) -> None:
    key = signed.parent / "key.pub"
    fingerprint = signer(signed, key)
    result = call("verify", signed, "--public-key", key)
    assert result.exit_code == 1, "it has no model to run"
    assert f"ok      signature: of this manifest, by key {fingerprint}" in result.stdout
    assert "signed by another key" in failure("verify", signed, "--public-key", signed.parent / "other.pub")
    manifest = json.loads((signed / MANIFEST).read_text())
    (signed / MANIFEST).write_text(json.dumps(manifest | {"name": "other"}))
    assert "manifest.json was changed after it was signed" in failure("verify", signed, "--public-key", key)
    assert "none of 1 models was run here" in call("verify", signed).stderr
    assert call("bundle", "sign", signed, "--key", signed.parent / "key.pem").exit_code == 0
    assert signer(signed, key) == fingerprint


def test_a_changed_file_is_found_although_the_signature_is_valid(signed: Path) -> None:
    (signed / "weights.safetensors").write_bytes(b"WEIGHTS")
    assert "weights.safetensors: damaged" in failure("verify", signed, "--public-key", signed.parent / "key.pub")
    assert "damaged" in failure("bundle", "sign", signed, "--key", signed.parent / "key.pem")


def test_a_signature_with_wrong_facts_is_invalid(signed: Path) -> None:
    """The hints name the right key and the right manifest, but another key signed."""
    key = signed.parent / "key.pub"
    right = json.loads((signed / SIGNATURE).read_text())
    sign(signed, signed.parent / "other.pem")
    wrong = json.loads((signed / SIGNATURE).read_text())
    (signed / SIGNATURE).write_text(json.dumps(right | {"signature": wrong["signature"]}))
    with pytest.raises(BundleError, match="the signature does not match; do not trust it"):
        signer(signed, key)
    (signed / SIGNATURE).write_text(json.dumps(right | {"algorithm": "none"}))
    with pytest.raises(BundleError, match="algorithm 'none'; expected ed25519"):
        signer(signed, key)
    for damaged in ("{", "[]", json.dumps(right | {"signature": "###"}), json.dumps(right | {"signature": "AAAA"})):
        (signed / SIGNATURE).write_text(damaged)
        with pytest.raises(BundleError, match=r"damaged signature|signature does not match"):
            signer(signed, key)
    (signed / SIGNATURE).unlink()
    assert "no signature; the bundle" in failure("verify", signed, "--public-key", key)


def test_a_signature_travels_with_the_bundle(signed: Path) -> None:
    for suffix in (".zip", ".tar.zst"):
        pack(signed, signed.parent / f"p{suffix}")
        out = unpack(signed.parent / f"p{suffix}", signed.parent / f"out{suffix}").path
        assert signer(out, signed.parent / "key.pub")
        assert open_bundle(out).manifest.name == "m"


def evidence(bundle: Path, verdict: str = "PASS") -> None:
    """Write results by which int8-cpu on ONNX Runtime is the fastest that passed the gate."""
    opened = open_bundle(bundle)
    sure = {"value": 1.0, "low": 0.9, "high": 1.0}
    counts = dict.fromkeys(("flips", "newly_wrong", "newly_right", "wrong_to_other_wrong"), 0)
    paired = counts | {"agreement": 1.0, "drop": dict.fromkeys(sure, 0.0), "mcnemar_p": 1.0}
    figures = {"top1": sure, "top3": sure, "nll": 0.1, "ece": 0.1, "confusion": [[1, 0], [0, 1]], "paired": paired}
    judged, timed = [], []
    for variant, p50_ms in (("fp32", 2.0), ("int8-cpu", 1.0)):
        named = {"key": f"{variant}/onnxruntime", "variant": variant, "runtime": "onnxruntime", "size_bytes": 9}
        row = named | {"artifact_sha256": opened.artifact("model", variant).sha256}
        gate = {"verdict": "REFERENCE" if variant == "fp32" else verdict}
        judged.append(row | figures | {"gate": gate})
        timed.append(row | {"batches": [{"batch": 1, "p50_ms": p50_ms, "images_per_s": 1000 / p50_ms}]})
    answers = {row["key"]: {"top1": [0, 1], "probability": [1.0, 1.0]} for row in judged}
    predictions = {"paths": ["a/0.jpg", "b/0.jpg"], "labels": [0, 1], "candidates": answers}
    shared = {"images": 2, "classes": ["a", "b"], "margin_points": 0.5, "confidence": 0.95, "predictions": predictions}
    headers = {kind: to_dict(header_fields(opened, kind)) for kind in ("evaluate", "bench")}
    save_result(opened, "evaluate-test", from_dict(Evaluation, headers["evaluate"] | shared | {"candidates": judged}))
    save_result(opened, "bench", from_dict(Bench, headers["bench"] | {"candidates": timed}))


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A bundle whose models are no models, with results that steer, and key.pem and key.pub beside it; not signed yet."""
    private = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(private.private_bytes(*PRIVATE, NoEncryption()))
    (tmp_path / "key.pub").write_bytes(private.public_key().public_bytes(*PUBLIC))
    with changing(tmp_path / "m") as staging:
        for variant in ("fp32", "int8-cpu"):
            staging.file(f"{variant}.onnx").write_text(variant)
            staging.add(f"{variant}.onnx", "model", variant)
        staging.finish(Manifest("m", ("a", "b"), Contract(), {}))
    evidence(tmp_path / "m")
    return tmp_path / "m"


def chosen(bundle: Path, key: Path | None) -> str:
    return str(choose(open_signed(bundle, key), runtime="onnxruntime").candidate)


def _edited(bundle: Path) -> None:
    file = bundle / "results/evaluate-test.json"
    file.write_text(file.read_text() + " ")


def _added(bundle: Path) -> None:
    sign_without(bundle, "evaluate-test.json")


def _moved(bundle: Path) -> None:
    """What was signed under another name is not what is read under this one."""
    content = (bundle / "results/evaluate-test.json").read_bytes()
    (bundle / "results/evaluate-test.json").rename(bundle / "results/evaluate-field.json")
    sign(bundle, bundle.parent / "key.pem")
    (bundle / "results/evaluate-test.json").write_bytes(content)


def _format_1(bundle: Path) -> None:
    private = load_pem_private_key((bundle.parent / "key.pem").read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    signature = base64.b64encode(private.sign((bundle / MANIFEST).read_bytes())).decode()
    (bundle / SIGNATURE).write_text(json.dumps({"algorithm": "ed25519", "signature": signature}))


def _signed_before(bundle: Path) -> None:
    for file in (bundle / "results").iterdir():
        file.unlink()
    sign(bundle, bundle.parent / "key.pem")
    evidence(bundle)


def sign_without(bundle: Path, name: str) -> None:
    content = (bundle / "results" / name).read_bytes()
    (bundle / "results" / name).unlink()
    sign(bundle, bundle.parent / "key.pem")
    (bundle / "results" / name).write_bytes(content)


@pytest.mark.parametrize("harm", [_edited, _added, _moved, _format_1, _signed_before])
def test_a_result_that_the_signature_does_not_cover_steers_nothing(
    judged: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    key = judged.parent / "key.pub"
    sign(judged, judged.parent / "key.pem")
    assert chosen(judged, key) == chosen(judged, None) == "int8-cpu/onnxruntime"
    assert not caplog.records
    harm(judged)
    assert chosen(judged, None) == "int8-cpu/onnxruntime"
    assert chosen(judged, key) == "fp32/onnxruntime"
    assert "evaluate-test.json: not covered by the signature of key" in caplog.text
    statuses = {check.subject: check.status for check in signature_checks(open_signed(judged, key))}
    assert statuses == {"signature": "ok", "results": "not run" if harm is _format_1 else "FAIL"}
    sign(judged, judged.parent / "key.pem")
    assert chosen(judged, key) == "int8-cpu/onnxruntime"
    (judged / "results/bench.json").unlink()
    assert changed_results(open_signed(judged, key)) == ["results/bench.json was removed"]


def test_the_list_of_results_is_what_was_signed(judged: Path) -> None:
    """Nobody adds a line to it, takes one away, or makes a signature of format 2 one of format 1."""
    sign(judged, judged.parent / "key.pem")
    right = json.loads((judged / SIGNATURE).read_text())
    name = "results/bench.json"
    changes: tuple[dict[str, Any], ...] = (
        {"results": {}},
        {"results": right["results"] | {"results/x.json": "0" * 64}},
        {"results": right["results"] | {name: "0" * 64}},
        {"format_version": 1},
        {"format_version": 3},
        {"format_version": None},
        {"results": {"results/x.json\n": "0" * 64}},
        {"results": {"../x.json": "0" * 64}},
        {"results": {name: "0"}},
        {"results": {name: 0}},
        {"results": []},
        {"results": None},
    )
    for change in changes:
        (judged / SIGNATURE).write_text(json.dumps(right | change))
        with pytest.raises(
            BundleError, match=r"the signature does not match|damaged signature|signature format"
        ) as caught:
            open_signed(judged, judged.parent / "key.pub")
        assert "\n" not in str(caught.value)


def test_infer_serve_load_report_and_verify_check_the_signature_first(judged: Path) -> None:
    """The models would not load: the signature must speak first."""
    key, photo = judged.parent / "key.pub", judged.parent / "x.jpg"
    photo.touch()
    commands = (
        ("infer", photo, "--bundle", judged),
        ("serve", judged, "--port", 0),
        ("report", judged),
        ("verify", judged),
    )
    for words in commands:
        assert "no signature; the bundle" in failure(*words, "--public-key", key)
    with pytest.raises(BundleError, match="no signature; the bundle"):
        load(judged, public_key=key)
    sign(judged, judged.parent / "key.pem")
    (judged / "fp32.onnx").write_text("FP32")
    for words in commands:
        assert "fp32.onnx: damaged" in failure(*words, "--public-key", key)
    with pytest.raises(BundleError, match=r"fp32\.onnx: damaged"):
        load(judged, public_key=key)
    assert "leave --public-key out" in failure(
        "infer", photo, "--bundle", judged, "--public-key", key, "--runtime", "tensorrt", "--rebuild"
    )


def test_the_signed_text_is_as_documented() -> None:
    text = signed_text(b"abc", {"results/b.json": "1" * 64, "results/a.json": "2" * 64}).decode()
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert text.splitlines() == [
        "vegrt-bundle-signature 2",
        f"{abc}  manifest.json",
        f"{'2' * 64}  results/a.json",
        f"{'1' * 64}  results/b.json",
    ]
    assert text.endswith("\n")


def test_a_file_that_is_no_ed25519_key_is_refused_in_one_line(signed: Path) -> None:
    folder, curve = signed.parent, ec.generate_private_key(ec.SECP256R1())
    (folder / "ec.pem").write_bytes(curve.private_bytes(*PRIVATE, NoEncryption()))
    (folder / "ec.pub").write_bytes(curve.public_key().public_bytes(*PUBLIC))
    locked = Ed25519PrivateKey.generate().private_bytes(*PRIVATE, BestAvailableEncryption(b"secret"))
    (folder / "locked.pem").write_bytes(locked)
    (folder / "text.pem").write_text("not a key")
    for name, message in (
        ("ec.pem", "not an ed25519 private key; make one with: openssl genpkey"),
        ("locked.pem", "not a PEM private key without a passphrase"),
        ("text.pem", "not a PEM private key"),
        ("key.pub", "not a PEM private key"),
        ("none.pem", "key cannot be read"),
    ):
        assert message in failure("bundle", "sign", signed, "--key", folder / name)
    for name, message in (
        ("ec.pub", "not an ed25519 public key"),
        ("text.pem", "not a PEM public key; make one with: openssl pkey"),
    ):
        assert message in failure("verify", signed, "--public-key", folder / name)
