from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from tests.command_line import call
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import BundleError
from vegrt.evaluate.verify import conclusion, cure_of, models_run, verify
from vegrt.infer.runtimes.onnx_file import model_conflicts


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Have vegrt find none of these packages, as where they are not installed."""
    hidden = {*packages}
    monkeypatch.setattr("vegrt.infer.runtimes.host.find_spec", lambda name: None if name in hidden else find_spec(name))


def test_an_exported_bundle_passes_every_check_that_can_run_here(bundle: Bundle) -> None:
    checks = verify(bundle)
    assert {check.status for check in checks} == {"ok", "not run"}
    ran = {check.subject for check in checks if check.status == "ok"}
    assert {"files", "golden pixels", "fp32/onnxruntime", "int8-cpu/openvino"} <= ran
    engines = [artifact.path for artifact in bundle.manifest.artifacts if artifact.role == "engine"]
    assert [check.subject for check in checks if check.status == "not run"] == [*engines, "weights.safetensors"]
    assert models_run(checks) == (5, 6 + len(engines))
    assert conclusion(checks) == "ok"
    stated = next(check for check in checks if check.subject == "classes and contract")
    assert stated.detail.startswith("4 of 4 models")


def test_a_bundle_without_golden_photos_is_checked_for_its_files_and_not_called_right(trained: Bundle) -> None:
    checks = verify(trained)
    shown = [("files", "ok"), ("golden", "not run"), ("weights.safetensors", "not run")]
    assert [(check.subject, check.status) for check in checks] == shown
    assert conclusion(checks) == "not run"
    assert f"vegrt export {trained.path} --data DATA" in str(checks[1])


def test_without_a_runtime_no_model_is_called_right(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "onnxruntime", "openvino", "MNN")
    checks = verify(bundle)
    models = [check for check in checks if check.artifact.endswith(".onnx")]
    assert {(check.status, check.cure) for check in models} == {("not run", "pip install 'vegrt[cpu]'")}
    assert conclusion(checks) == "not run"
    assert models_run(checks)[0] == 0
    assert cure_of(checks) == "pip install 'vegrt[cpu]'"
    shown = call("verify", bundle.path, "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["status"] == "not run"
    assert "pip install 'vegrt[cpu]'" in shown.stderr


@pytest.mark.parametrize(
    "words", [["evaluate", "--data"], ["robustness", "--data"], ["bench"], ["bench", "--variant", "fp32"]]
)
def test_a_missing_runtime_is_named_as_the_cause(
    bundle: Bundle, photos: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    hide(monkeypatch, "onnxruntime", "openvino", "MNN", "torchvision")
    asked = [*words, photos] if words[-1] == "--data" else words
    shown = call(asked[0], bundle.path, *asked[1:])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("vegrt: no runtime is installed here; pip install 'vegrt[cpu]'")


def test_a_model_that_cannot_be_loaded_fails_and_the_others_are_still_run(copied: Bundle) -> None:
    with changing(copied.path) as staging:
        staging.file("fp16.onnx").write_bytes(b"")
        staging.add("fp16.onnx", "model", "fp16")
        staging.finish(copied.manifest)
    checks = {check.subject: check for check in verify(open_bundle(copied.path))}
    assert "not an ONNX file" in checks["classes and contract"].detail
    assert "cannot be run" in checks["fp16/onnxruntime"].detail
    failed = [subject for subject, check in checks.items() if check.status == "FAIL"]
    assert failed == ["classes and contract", "fp16/onnxruntime"]
    assert checks["int8-cpu/onnxruntime"].status == "ok"


def test_models_that_state_nothing_are_counted(copied: Bundle) -> None:
    """Files of other tools have no metadata: nothing of them was compared."""
    for named, status in ((("fp16",), "ok"), (("fp32", "fp16", "int8", "int8-cpu"), "not run")):
        with changing(copied.path) as staging:
            for variant in named:
                model = onnx.load(copied.file("model", variant))
                del model.metadata_props[:]
                onnx.save(model, staging.file(f"{variant}.onnx"))
                staging.add(f"{variant}.onnx", "model", variant)
            staging.finish(open_bundle(copied.path).manifest)
        (stated,) = (check for check in verify(copied) if check.subject == "classes and contract")
        assert stated.status == status
        assert f"{4 - len(named) or 'none'} of 4 models" in stated.detail


def test_models_made_before_contracts_said_icc_fit_manifests_that_ignore_profiles(bundle: Bundle) -> None:
    contract = bundle.manifest.contract
    older = replace(bundle, manifest=replace(bundle.manifest, contract=replace(contract, icc="ignore")))
    silent = {key: value for key, value in contract.to_dict().items() if key != "icc"}
    for stated in (silent, silent | {"icc": "ignore"}):
        assert not list(model_conflicts(older, "x.onnx", {"vegrt.contract": json.dumps(stated)}))
        (conflict,) = model_conflicts(bundle, "x.onnx", {"vegrt.contract": json.dumps(stated)})
        assert str(conflict) == "contract differs: icc srgb in the manifest, ignore in x.onnx"


def test_swapped_channels_are_noticed_although_the_hashes_fit(copied: Bundle) -> None:
    """Sabotage that rewrites the manifest too: the mean of red goes to blue, so the model sees other colours."""
    path = copied.file("model", "fp32")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "conv1.0.weight":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, ::-1].copy(), tensor.name))
    with changing(copied.path) as staging:
        onnx.save(model, staging.file("fp32.onnx"))
        staging.add("fp32.onnx", "model", "fp32")
        staging.finish(copied.manifest)
    failed = {check.subject for check in verify(open_bundle(copied.path)) if check.status == "FAIL"}
    assert failed - {"bf16/openvino"} == {
        "fp32/onnxruntime",
        "fp32/openvino",
    }  # bf16: the same file, on CPUs that have it


def test_golden_pixels_of_another_decoder_are_noticed(copied: Bundle) -> None:
    file = copied.path / "golden/golden.json"
    golden = json.loads(file.read_text())
    golden["images"][1]["pixels_sha256"] = "0" * 64
    with changing(copied.path) as staging:
        staging.file("golden/golden.json").write_text(json.dumps(golden))
        staging.add("golden/golden.json", "golden")
        staging.finish(copied.manifest)
    checks = {check.subject: check for check in verify(open_bundle(copied.path))}
    assert checks["golden pixels"].status == "FAIL"
    assert "3 of 4 golden photos" in checks["golden pixels"].detail


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "notes.jpg", "golden", "", 7, None, ["x"]])
def test_a_golden_photo_is_a_file_that_the_manifest_lists(copied: Bundle, name: object) -> None:
    for place in ("../outside.jpg", "notes.jpg"):
        shutil.copyfile(next((copied.path / "golden").glob("*.jpg")), copied.path / place)
    golden = json.loads((copied.path / "golden/golden.json").read_text())
    golden["images"][0]["file"] = name
    with changing(copied.path) as staging:
        staging.file("golden/golden.json").write_text(json.dumps(golden))
        staging.add("golden/golden.json", "golden")
        staging.finish(copied.manifest)
    with pytest.raises(BundleError, match="golden: damaged"):
        verify(open_bundle(copied.path))


def test_a_damaged_file_stops_verification(copied: Bundle) -> None:
    copied.file("golden").write_bytes(b"x")
    with pytest.raises(BundleError, match="damaged"):
        verify(copied)
