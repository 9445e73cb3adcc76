from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.calibration.graph.onnx_graph import load_fp32
from vegrt.calibration.graph.work import multiplications, share_percent
from vegrt.errors import DataError
from vegrt.export.stage import ExportJob, export
from vegrt.export.summary import describe_export, export_lines


def test_an_exported_bundle_describes_its_contents_and_origin(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert bundle.variants() == ("fp32", "fp16", "int8", "int8-cpu")
    assert manifest.calibration["images"] == 24
    assert manifest.calibration["judged_images"] == 24
    assert set(manifest.calibration["method"]) == {"signed", "unsigned"}
    assert len(manifest.calibration["tournament"]) == 8
    assert {"torch", "onnx", "onnxruntime", "vegrt"} <= set(manifest.tools)
    assert manifest.training  # what training wrote is kept
    lines = export_lines(bundle)
    assert any("int8.engine" in line and "15 of 16 weight layers Int8" in line for line in lines)
    share = manifest.calibration["int8_macs_share"]["int8"]
    assert 0.99 < share < 1  # the classifier counts, and is not in 8 bits
    assert f"int8: {share_percent(share)} of all multiplications (15 of 16 weight layers) in 8 bits" in lines
    assert describe_export(bundle)["calibration"] == manifest.calibration
    layers = multiplications(load_fp32(bundle).model)
    assert manifest.macs_per_image == sum(count for _, count in layers) > 10**5


def test_calibrating_on_a_test_photo_is_refused(trained: Bundle, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    shutil.copytree(trained.path, tmp_path / "bundle")
    shutil.copy(tmp_path / "data/test/Beet/003.jpg", tmp_path / "data/validation/Beet/another-name.jpg")
    with pytest.raises(DataError, match=r"another-name\.jpg: also in the test split"):
        export(tmp_path / "bundle", tmp_path / "data", ExportJob(engines=False))
    rows = [f"{path},{path.parent.name},{path.parents[1].name}" for path in (tmp_path / "data").rglob("*.jpg")]
    (tmp_path / "list.csv").write_text("\n".join(["path,class,split", *rows]))
    with pytest.raises(DataError, match=r"another-name\.jpg: also in the test split"):
        export(tmp_path / "bundle", tmp_path / "list.csv", ExportJob(engines=False))
    assert open_bundle(tmp_path / "bundle").manifest == trained.manifest


def test_too_few_photos_are_refused(trained: Bundle, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "data")
    for path in sorted((tmp_path / "data/validation").rglob("*.jpg"))[:20]:
        path.write_bytes(b"no longer an image")
    with pytest.raises(DataError, match="28 readable photos; calibration needs at least 32"):
        export(trained.path, tmp_path / "data", ExportJob(engines=False))
