"""Model repositories, read by Triton's own schema, and the model in them run as Triton's backend would."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.testing import CliRunner

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.cli import app
from vegrt.errors import EngineError, VegrtError
from vegrt.export.deploy.triton import Serving, deploy_triton
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime


def config_of(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


@pytest.mark.parametrize(("variant", "kind"), [("fp32", 0), ("fp16", 1), ("int8-cpu", 2)])
def test_the_repository_describes_the_input_and_output_of_the_model(
    bundle: Bundle, variant: str, kind: int, tmp_path: Path
) -> None:
    folder = deploy_triton(bundle, tmp_path / "repository", Serving(variant, "onnxruntime", 16, 2))
    config = config_of(folder)
    assert (config.name, config.backend, config.max_batch_size) == (folder.name, "onnxruntime", 16)
    (images,), (logits,), (group,) = config.input, config.output, config.instance_group
    assert (images.name, images.data_type, list(images.dims)) == ("images", model_config_pb2.TYPE_UINT8, [48, 48, 3])
    assert (logits.name, logits.data_type, list(logits.dims)) == ("logits", model_config_pb2.TYPE_FP32, [3])
    assert (group.count, group.kind) == (2, kind)
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert tuple((folder / logits.label_filename).read_text().splitlines()) == bundle.manifest.classes
    images_given = np.zeros((config.max_batch_size, *images.dims), np.uint8)
    assert open_onnxruntime(folder / "1/model.onnx").logits(images_given).shape == (16, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    with pytest.raises(VegrtError, match="exists and is not an empty folder"):
        deploy_triton(bundle, tmp_path / "repository", Serving())


def as_tensorrt(bundle: Bundle, name: str) -> Bundle:
    """Return the bundle with its RTX plans listed as those of TensorRT: no GPU is needed for that."""
    with changing(bundle.path) as staging:
        for one in [one for one in bundle.manifest.artifacts if one.role == "engine"]:
            shutil.copyfile(bundle.path / one.path, staging.file(one.path))
            staging.add(one.path, "engine", one.variant, one.details | {"builder": "tensorrt"})
        staging.finish(replace(bundle.manifest, name=name))
    return open_bundle(bundle.path)


def test_an_engine_is_served_within_its_profile(copied: Bundle, tmp_path: Path) -> None:
    changed = as_tensorrt(copied, 'my "model" /é')
    folder = deploy_triton(changed, tmp_path / "repository", Serving("int8", "tensorrt"))
    config = config_of(folder)
    assert (config.name, config.backend) == (folder.name, "tensorrt") == ("my_model_", "tensorrt")
    assert list(config.dynamic_batching.preferred_batch_size) == [8]
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert (folder / "1/model.plan").read_bytes() == changed.file("engine", "int8").read_bytes()
    with pytest.raises(EngineError, match="accepts batches up to 32, --max-batch is 64"):
        deploy_triton(changed, tmp_path / "other", Serving("int8", "tensorrt", max_batch=64))
    assert not (tmp_path / "other").exists()


def test_a_model_that_triton_cannot_serve_is_one_line(bundle: Bundle, trained: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for path, words, message in (
        (
            bundle.path,
            ("--variant", "int8", "--backend", "tensorrt"),
            "only a TensorRT-RTX engine, which Triton cannot",
        ),
        (bundle.path, ("--variant", "fp32", "--backend", "tensorrt"), "no engine of fp32"),
        (
            bundle.path,
            ("--variant", "int8"),
            "float16 scales, which ONNX Runtime's optimizer breaks; use --variant int8-cpu",
        ),
        (trained.path, (), "no fp32 model in it"),
    ):
        failed = CliRunner().invoke(app, ["deploy", "triton", str(path), str(out), *words])
        assert (failed.exit_code, len(failed.stderr.splitlines())) == (1, 1), failed.output
        assert message in failed.stderr
        assert not out.exists()
    done = CliRunner().invoke(app, ["deploy", "triton", str(bundle.path), str(out), "--json", "--max-batch", "4"])
    assert json.loads(done.stdout)["model"] == bundle.manifest.name
    assert config_of(out / bundle.manifest.name).max_batch_size == 4
