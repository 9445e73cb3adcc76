from __future__ import annotations

import json
import shutil

import onnx
import pytest
from onnx import numpy_helper

from vegrt.bundle import Bundle, changing, open_bundle
from vegrt.errors import BundleError
from vegrt.infer.verify import verify


def test_an_exported_bundle_passes_every_check(bundle: Bundle) -> None:
    checks = verify(bundle)
    assert all(check.passed for check in checks)
    assert {"files", "golden pixels", "fp32/onnxruntime", "int8-cpu/openvino"} <= {check.subject for check in checks}


def test_a_bundle_without_golden_photos_is_checked_for_its_files(trained: Bundle) -> None:
    assert [check.subject for check in verify(trained)] == ["files", "golden"]


def test_swapped_channels_are_noticed_although_the_hashes_fit(copied: Bundle) -> None:
    """Sabotage that rewrites the manifest too: the mean of red goes to blue, so the model sees other colours."""
    path = copied.file("model", "fp32")
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "conv1.weight":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, ::-1].copy(), tensor.name))
    with changing(copied.path) as staging:
        onnx.save(model, staging.file("fp32.onnx"))
        staging.add("fp32.onnx", "model", "fp32")
        staging.finish(copied.manifest)
    failed = [check.subject for check in verify(open_bundle(copied.path)) if not check.passed]
    assert failed == ["fp32/onnxruntime", "fp32/openvino"]


def test_golden_pixels_of_another_decoder_are_noticed(copied: Bundle) -> None:
    file = copied.path / "golden/golden.json"
    golden = json.loads(file.read_text())
    golden["images"][1]["pixels_sha256"] = "0" * 64
    with changing(copied.path) as staging:
        staging.file("golden/golden.json").write_text(json.dumps(golden))
        staging.add("golden/golden.json", "golden")
        staging.finish(copied.manifest)
    checks = {check.subject: check for check in verify(open_bundle(copied.path))}
    assert not checks["golden pixels"].passed
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
    with pytest.raises(BundleError, match="is in no list of the manifest"):
        verify(open_bundle(copied.path))


def test_a_damaged_file_stops_verification(copied: Bundle) -> None:
    copied.file("golden").write_bytes(b"x")
    with pytest.raises(BundleError, match="damaged"):
        verify(copied)
