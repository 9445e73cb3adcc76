"""Model repositories, read by Triton's own schema, and the model in them run as Triton's backend would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.command_line import answer, failure
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.errors import EngineError, VegrtError
from vegrt.export.deploy.triton import Serving, deploy_triton
from vegrt.infer.runtimes.fingerprint import Fingerprint
from vegrt.infer.runtimes.onnxruntime.runner import open_onnxruntime


def config_of(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


@pytest.mark.parametrize(("variant", "kind"), [("fp32", 0), ("fp16", 1), ("int8-cpu", 2)])
def test_the_repository_describes_the_input_and_output_of_the_model(
    bundle: Bundle, variant: str, kind: int, tmp_path: Path
) -> None:
    written = deploy_triton(bundle, tmp_path / "repository", Serving(variant, "onnxruntime", 16, 2))
    folder, config = written.model, config_of(written.model)
    assert (config.name, config.backend, config.max_batch_size) == (folder.name, "onnxruntime", 16)
    (images,), (logits,), (group,) = config.input, config.output, config.instance_group
    assert (images.name, images.data_type, list(images.dims)) == ("images", model_config_pb2.TYPE_UINT8, [48, 48, 3])
    assert (logits.name, logits.data_type, list(logits.dims)) == ("logits", model_config_pb2.TYPE_FP32, [3])
    assert (group.count, group.kind) == (2, kind)
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert tuple((folder / logits.label_filename).read_text().splitlines()) == bundle.manifest.classes
    batch = np.zeros((config.max_batch_size, *images.dims), np.uint8)
    assert open_onnxruntime(folder / "1/model.onnx").logits(batch).shape == (16, 3)
    assert ("--gpus all" in written.command) == (variant != "int8-cpu")
    assert f" -v {tmp_path}/repository:/models nvcr.io/nvidia/tritonserver:" in written.command
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    with pytest.raises(VegrtError, match="exists and is not an empty folder"):
        deploy_triton(bundle, tmp_path / "repository", Serving())


def with_engines(bundle: Bundle, *fingerprints: Fingerprint, name: str = "") -> Bundle:
    """Return the bundle with its RTX plan of int8 listed as an engine of TensorRT per fingerprint: no GPU is needed for that."""
    plan = bundle.artifact("engine", "int8")
    with changing(bundle.path) as staging:
        for number, built in enumerate(fingerprints):
            path = f"engines/tensorrt-{built.version}-{built.target}-{number}/int8.engine"
            staging.file(path).write_bytes(bundle.path_of(plan.path).read_bytes() + bytes([number]))
            staging.add(path, "engine", "int8", plan.details | built.to_dict())
        staging.finish(replace(bundle.manifest, name=name or bundle.manifest.name))
    return open_bundle(bundle.path)


def engine(version: str, target: str, *, compatible: bool = False) -> Fingerprint:
    device = {"sm89": "NVIDIA L4", "sm90": "NVIDIA H100"}[target]
    return Fingerprint("tensorrt", version, target, device, version_compatible=compatible)


def test_an_engine_is_served_within_its_profile(copied: Bundle, tmp_path: Path) -> None:
    changed = with_engines(copied, engine("10.16.1.11", "sm89"), name='my "model" /é')
    written = deploy_triton(changed, tmp_path / "repository", Serving("int8", "tensorrt"))
    config = config_of(written.model)
    assert (config.name, config.backend) == (written.model.name, "tensorrt") == ("my_model_", "tensorrt")
    assert list(config.dynamic_batching.preferred_batch_size) == []
    assert config.dynamic_batching.max_queue_delay_microseconds > 0
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert (written.model / "1/model.plan").read_bytes() == changed.path_of(written.artifact).read_bytes()
    assert ": NVIDIA L4 (sm89), tensorrt 10.16.1.11" in (written.model / "config.pbtxt").read_text().splitlines()[0]
    with pytest.raises(EngineError, match="accepts batches up to 32, --max-batch is 64"):
        deploy_triton(changed, tmp_path / "other", Serving("int8", "tensorrt", max_batch=64))
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("version", "container"),
    [("10.16.1.11", "26.05"), ("10.13.3.9", "25.10"), ("10.3.0.26", "24.08"), ("11.4.0.106", ""), ("10.12.0.36", "")],
)
def test_the_container_is_the_newest_with_the_tensorrt_of_the_engine(
    copied: Bundle, tmp_path: Path, version: str, container: str, caplog: pytest.LogCaptureFixture
) -> None:
    changed = with_engines(copied, engine(version, "sm89"))
    written = deploy_triton(changed, tmp_path / "repository", Serving("int8", "tensorrt"))
    assert written.container == (f"nvcr.io/nvidia/tritonserver:{container}-py3" if container else "")
    assert (f"tritonserver:{container or 'RELEASE'}-py3 tritonserver --model-repository=/models") in written.command
    assert (f"no Triton release that is known here has TensorRT {version}" in caplog.text) == (not container)


def test_a_version_compatible_engine_runs_in_newer_containers_that_are_told_so(copied: Bundle, tmp_path: Path) -> None:
    changed = with_engines(copied, engine("10.9.0.34", "sm89", compatible=True))
    written = deploy_triton(changed, tmp_path / "repository", Serving("int8", "tensorrt"))
    assert written.container.endswith(":26.05-py3")
    assert written.command.endswith(" --backend-config=tensorrt,version-compatible=true")


def test_one_of_several_engines_is_chosen_by_gpu_and_container(copied: Bundle, tmp_path: Path) -> None:
    built = (engine("10.16.1.11", "sm89"), engine("10.16.1.11", "sm90"), engine("10.13.3.9", "sm89"))
    changed = with_engines(copied, *built)
    for target, release, number in (("sm90", "", 1), ("sm89", "25.09", 2), ("sm89", "26.04", 0)):
        serving = Serving("int8", "tensorrt", target=target, release=release)
        written = deploy_triton(changed, tmp_path / f"repository-{number}", serving)
        assert written.artifact == f"engines/tensorrt-{built[number].version}-{target}-{number}/int8.engine"
        assert written.container.endswith(f":{release or '26.05'}-py3")
    for serving, message in (
        (
            Serving("int8", "tensorrt"),
            r"3 engines of int8 \(.*NVIDIA H100 \(sm90\), tensorrt 10.16.1.11.*expected one: add --gpu",
        ),
        (
            Serving("int8", "tensorrt", target="sm75"),
            "no engine of int8 for that server .*built for NVIDIA L4 .SM89., this is SM75",
        ),
        (Serving("int8", "tensorrt", release="26.03"), "built by tensorrt 10.16.1.11, this is 10.16.0.72"),
        (
            Serving("int8", "tensorrt", release="23.01"),
            "--container 23.01: its TensorRT is not known here; expected one of 26.05",
        ),
    ):
        with pytest.raises(EngineError, match=message):
            deploy_triton(changed, tmp_path / "none", serving)
    assert not (tmp_path / "none").exists()


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
        (trained.path, (), "no fp32 model"),
    ):
        assert message in failure("deploy", "triton", path, out, *words)
        assert not out.exists()
    shown = answer("deploy", "triton", bundle.path, out, "--max-batch", "4")
    assert (shown["model"], shown["artifact"]) == (bundle.manifest.name, "fp32.onnx")
    assert shown["command"].startswith("docker run --rm --gpus all ")
    assert config_of(out / bundle.manifest.name).max_batch_size == 4
