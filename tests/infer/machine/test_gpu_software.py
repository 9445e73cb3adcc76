"""What is advised for drivers, errors and packages as they were seen or reported: written facts in, one command out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from vegrt.infer.machine.gpu import Gpu, GpuProbe, error_words
from vegrt.infer.machine.gpu_software import DISTRIBUTIONS, GpuFacts, GpuSoftware, check_gpu_software

L4 = (Gpu("NVIDIA L4", "8.9", 23034),)
R550 = GpuProbe(L4, "550.54.15", "", "12.4")
R580 = GpuProbe(L4, "580.95.05", "", "13.0")
SET12 = {
    "onnxruntime-gpu": "1.26.0",
    "tensorrt-cu12": "10.16.1.11",
    "cuda-bindings": "12.9.10",
    "nvidia-ml-py": "13.615.71",
}
SET13 = {
    "onnxruntime-gpu": "1.31.1",
    "tensorrt-cu13": "10.16.1.11",
    "cuda-bindings": "13.5.0",
    "nvidia-ml-py": "13.615.71",
}


def check(
    probe: GpuProbe,
    packages: Mapping[str, str],
    *,
    python: tuple[int, int] = (3, 12),
    architecture: str = "x86_64",
    libraries: Mapping[str, str] | None = None,
) -> GpuSoftware:
    return check_gpu_software(GpuFacts(probe, python, architecture, packages, libraries or {}))


def only(software: GpuSoftware) -> tuple[str, str]:
    (advice,) = software.advice
    assert not software.ready
    return advice.command, advice.reason


def test_a_machine_without_a_driver_has_nothing_to_do() -> None:
    assert check(GpuProbe((), "", "no nvidia-smi"), SET13) == GpuSoftware("", False, ())


@pytest.mark.parametrize(
    ("probe", "packages", "extra"),
    [
        (R550, SET12, "gpu-cuda12"),
        (R580, SET13, "gpu-cuda13"),
        (R580, SET12, "gpu-cuda12"),  # an older set works with a newer driver: no change is advised
        (R580, {"tensorrt-cu13": "11.4.0.106", "cuda-bindings": "13.5.0", "nvidia-ml-py": "13.615.71"}, "tensorrt"),
    ],
)
def test_a_whole_set_is_ready(probe: GpuProbe, packages: dict[str, str], extra: str) -> None:
    assert check(probe, packages) == GpuSoftware(extra, True, ())


@pytest.mark.parametrize(
    ("probe", "python", "architecture", "extra"),
    [
        (R580, (3, 12), "x86_64", "gpu-cuda13"),
        (R580, (3, 10), "x86_64", "gpu-cuda12"),
        (R580, (3, 14), "x86_64", "tensorrt"),
        (R580, (3, 12), "aarch64", "tensorrt"),
        (R550, (3, 10), "x86_64", "gpu-cuda12"),
        (GpuProbe(L4, "", "", "13.0"), (3, 12), "x86_64", "gpu-cuda13"),  # WSL
    ],
)
def test_the_set_for_a_bare_environment(
    probe: GpuProbe, python: tuple[int, int], architecture: str, extra: str
) -> None:
    software = check(probe, {}, python=python, architecture=architecture)
    command, reason = only(software)
    assert (software.extra, command) == (extra, f"pip install 'vegrt[{extra}]'")
    assert "cuda-bindings is missing" in reason


def test_error_35_is_cured_by_the_packages_of_the_older_cuda() -> None:
    problem = error_words(35, "cudaErrorInsufficientDriver", "550.54.15")
    command, reason = only(check(GpuProbe((), "550.54.15", problem, "12.4", 35), SET13))
    assert command == "pip uninstall --yes onnxruntime-gpu tensorrt-cu13 && pip install 'vegrt[gpu-cuda12]'"
    assert reason.startswith(
        "CUDA error 35 (cudaErrorInsufficientDriver): the driver is older than the CUDA of the packages; "
    )
    assert (
        "cuda-bindings 13.5.0 does not fit driver 550.54.15 (CUDA 12.4); expected cuda-bindings>=12.9.1,<13" in reason
    )


def test_a_driver_that_is_too_old_for_every_set() -> None:
    command, reason = only(check(GpuProbe(L4, "470.256.02", "", "11.4"), SET12))
    assert command == "sudo ubuntu-drivers install nvidia:580"
    assert reason.startswith("driver 470.256.02 (CUDA 11.4): CUDA 12 needs 525 or newer")


def test_tensorrt_wants_a_newer_driver_than_cuda_12_does() -> None:
    command, reason = only(check(GpuProbe(L4, "525.147.05", "", "12.0"), SET12))
    assert command == "sudo ubuntu-drivers install nvidia:535"
    assert "TensorRT needs 535 or newer" in reason


def test_a_python_without_wheels() -> None:
    command, reason = only(check(R550, {}, python=(3, 14)))
    assert command == "python3.12 -m venv .venv"
    assert "Python 3.14 on x86_64: gpu-cuda12 has no wheels for it; expected 3.10 to 3.13 on x86_64" in reason


def test_two_onnx_runtimes_are_both_removed_before_one_is_installed() -> None:
    command, reason = only(check(R580, {**SET13, "onnxruntime": "1.32.0"}))
    assert command == "pip uninstall --yes onnxruntime onnxruntime-gpu && pip install 'vegrt[gpu-cuda13]'"
    assert reason == "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"


def test_the_onnx_runtime_for_cpus_gives_way() -> None:
    packages = {name: version for name, version in SET13.items() if name != "onnxruntime-gpu"} | {
        "onnxruntime": "1.32.0"
    }
    command, reason = only(check(R580, packages))
    assert command == "pip uninstall --yes onnxruntime && pip install 'vegrt[gpu-cuda13]'"
    assert reason == "onnxruntime-gpu is missing"


def test_tensorrt_11_beside_onnx_runtime_gives_way_with_all_its_parts() -> None:
    parts = dict.fromkeys(("tensorrt", "tensorrt-cu13", "tensorrt-cu13-bindings", "tensorrt-cu13-libs"), "11.4.0.106")
    command, reason = only(check(R580, {**SET13, **parts}))
    assert command == f"pip uninstall --yes {' '.join(parts)} && pip install 'vegrt[gpu-cuda13]'"
    assert (
        reason
        == "tensorrt-cu13 11.4.0.106 does not fit driver 580.95.05 (CUDA 13.0); expected tensorrt-cu13>=10.13.2,<11"
    )


def test_the_loader_is_quoted() -> None:
    words = "libcublasLt.so.12: cannot open shared object file: No such file or directory"
    command, reason = only(check(R550, SET12, libraries={"CUDAExecutionProvider": words}))
    assert command == "pip install 'vegrt[gpu-cuda12]'"
    assert reason == f"CUDAExecutionProvider does not load: {words}"


@pytest.mark.parametrize(
    ("error", "command"),
    [
        (100, "env -u CUDA_VISIBLE_DEVICES vegrt doctor"),
        (802, "sudo systemctl start nvidia-fabricmanager"),
        (803, "sudo reboot"),
        (804, "env -u LD_LIBRARY_PATH vegrt doctor"),
        (999, "sudo modprobe nvidia_uvm"),
    ],
)
def test_other_errors_have_their_own_cure(error: int, command: str) -> None:
    probe = GpuProbe((), "580.95.05", error_words(error, "cudaErrorSomething", "580.95.05"), "13.0", error)
    cure, reason = only(check(probe, SET13))
    assert cure == command
    assert reason.startswith(f"CUDA error {error} (cudaErrorSomething): ")


@pytest.mark.parametrize(
    "probe",
    [
        GpuProbe(
            (), "580.95.05", error_words(35, "cudaErrorInsufficientDriver", "580.95.05"), "", 35
        ),  # no libcuda.so.1
        GpuProbe((), "580.95.05", "driver loaded, but no nvidia-smi to list GPUs"),
    ],
)
def test_a_container_without_the_gpu_is_started_with_it(probe: GpuProbe) -> None:
    command, reason = only(check(probe, SET13))
    assert command.startswith("docker run --gpus all ")
    assert probe.problem in reason


def test_every_package_of_a_set_is_looked_for() -> None:
    assert {*SET12, *SET13, "onnxruntime", "tensorrt", "tensorrt-cu13-libs"} <= set(DISTRIBUTIONS)
