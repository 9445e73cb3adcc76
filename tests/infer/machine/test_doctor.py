"""Texts that real machines gave, this machine itself, and what doctor makes of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from vegrt.infer.machine.doctor import Diagnosis, advise, examine, render
from vegrt.infer.machine.forecast import forecast
from vegrt.infer.machine.gpu import Gpu, GpuProbe, cuda_version, error_words, parse_driver_version, parse_nvidia_smi
from vegrt.infer.machine.gpu_software import Advice, GpuSoftware
from vegrt.machine import Cpu, Machine, cpu_limits, memory_limits_bytes, parse_cpuinfo, parse_meminfo

SAPPHIRE_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
stepping\t: 8
flags\t\t: fpu vme de pse tsc msr sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand hypervisor lahf_lm abm \
bmi1 avx2 smep bmi2 erms invpcid avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb avx512cd sha_ni avx512bw \
avx512vl xsaveopt xsavec xgetbv1 xsaves avx_vnni avx512_bf16 wbnoinvd arat avx512vbmi umip pku ospke avx512_vbmi2 gfni \
vaes vpclmulqdq avx512_vnni avx512_bitalg tme avx512_vpopcntdq rdpid cldemote movdiri movdir64b md_clear serialize \
amx_bf16 avx512_fp16 amx_tile amx_int8 flush_l1d arch_capabilities
bugs\t\t: spectre_v1 spectre_v2 spec_store_bypass swapgs eibrs_pbrsb
address sizes\t: 46 bits physical, 57 bits virtual
power management:
"""
ZEN3 = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ht \
syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm pclmulqdq ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt aes xsave \
avx f16c rdrand hypervisor cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw topoext fsgsbase bmi1 avx2 smep bmi2 \
erms rdseed adx smap clflushopt clwb sha_ni xsaveopt xsavec xgetbv1 xsaves clzero umip vaes vpclmulqdq rdpid fsrm
bugs\t\t: sysret_ss_attrs null_seg spectre_v1 spectre_v2 spec_store_bypass srso
TLB size\t: 2560 4K pages
power management:
"""
JETSON_ORIN = """\
processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp uscat \
ilrcpc flagm paca pacg
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd42
CPU revision\t: 1
"""
RASPBERRY_PI_4 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
_RUNTIMES = ("onnxruntime", "openvino", "mnn", "tensorrt", "tensorrt_rtx", "torch")
NO_GPU = GpuProbe((), "", "no nvidia-smi")
NO_SOFTWARE = GpuSoftware("", False, ())
ORIN_GPU = GpuProbe((Gpu("Orin", "8.7", 0),), "540.3.0", "")


def shown_text(diagnosis: Diagnosis) -> str:
    text = StringIO()
    Console(file=text, width=160).print(render(diagnosis))
    return text.getvalue()


@pytest.mark.parametrize(
    ("text", "model", "has", "lacks"),
    [
        (SAPPHIRE_RAPIDS, "Platinum 8481C", {"avx512_vnni", "avx_vnni", "amx_int8", "avx512_bf16"}, {"asimd"}),
        (ZEN3, "AMD EPYC", {"avx2"}, {"avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16"}),
        (JETSON_ORIN, "Cortex-A78AE ARMv8", {"asimd", "asimddp", "asimdhp"}, {"avx2", "i8mm"}),
        (RASPBERRY_PI_4, "Cortex-A72", {"asimd"}, {"asimddp", "asimdhp"}),
        ("", "", set(), {"avx2"}),
    ],
)
def test_cpuinfo_of_real_machines(text: str, model: str, has: set[str], lacks: set[str]) -> None:
    cpu = parse_cpuinfo(text)
    assert model in cpu.model
    assert has <= set(cpu.features)
    assert not lacks & set(cpu.features)


def test_only_features_that_all_cores_share_count() -> None:
    little = SAPPHIRE_RAPIDS.replace("amx_int8 ", "")
    assert "amx_int8" not in parse_cpuinfo(SAPPHIRE_RAPIDS + "\n" + little).features


@pytest.mark.parametrize(
    ("text", "speeds"),
    [
        (SAPPHIRE_RAPIDS, {"fp32": "fair", "bf16": "fast", "fp16": "slow", "int8": "fast", "int8-cpu": "fast"}),
        (ZEN3, {"fp32": "fair", "fp16": "slow", "int8": "slow", "int8-cpu": "fair"}),
        (JETSON_ORIN, {"fp32": "fair", "fp16": "fair", "int8": "fair", "int8-cpu": "fast"}),
        (RASPBERRY_PI_4, {"fp32": "fair", "fp16": "slow", "int8": "slow", "int8-cpu": "fair"}),
    ],
)
def test_forecast_without_gpu_follows_the_instructions(text: str, speeds: dict[str, str]) -> None:
    verdicts = forecast(parse_cpuinfo(text), NO_GPU)
    assert {verdict.variant: verdict.speed for verdict in verdicts} == speeds
    assert "tensorrt" not in {verdict.runtime for verdict in verdicts}


@pytest.mark.parametrize(
    ("text", "saturates"), [(SAPPHIRE_RAPIDS, False), (ZEN3, True), (JETSON_ORIN, False), (RASPBERRY_PI_4, False)]
)
def test_eight_bit_weights_saturate_on_x86_without_vnni_only(text: str, saturates: bool) -> None:
    assert parse_cpuinfo(text).saturates is saturates


def test_a_gpu_moves_all_but_int8_cpu_to_tensorrt() -> None:
    verdicts = forecast(parse_cpuinfo(JETSON_ORIN), ORIN_GPU)
    assert [verdict.runtime for verdict in verdicts] == ["tensorrt"] * 3 + ["onnxruntime"]


def test_a_bare_jetson_is_sent_to_apt_for_tensorrt_and_to_pip_for_the_rest() -> None:
    board = Machine("NVIDIA Jetson Orin Nano Developer Kit", "aarch64", parse_cpuinfo(JETSON_ORIN), 6, 7620)
    commands = [advice.command for advice in advise(board, dict.fromkeys(_RUNTIMES, ""), NO_SOFTWARE)]
    assert "sudo apt-get install python3-libnvinfer" in commands
    assert "pip install 'vegrt[cpu]'" in commands
    assert not any("tensorrt]" in command or "openvino" in command for command in commands)


def test_nothing_is_advised_where_everything_is_there() -> None:
    server = Machine("", "x86_64", parse_cpuinfo(SAPPHIRE_RAPIDS), 8, 32_000)
    assert advise(server, dict.fromkeys(_RUNTIMES, "1.0"), NO_SOFTWARE) == ()


def test_a_gpu_set_brings_the_onnx_runtime_that_is_missing() -> None:
    server = Machine("", "x86_64", Cpu("", ()), 8, 32_000)
    cure = Advice("pip install 'vegrt[gpu-cuda12]'", "onnxruntime-gpu is missing")
    missing = {**dict.fromkeys(_RUNTIMES, "1.0"), "onnxruntime": ""}
    assert advise(server, missing, GpuSoftware("gpu-cuda12", False, (cure,))) == (cure,)
    assert [advice.command for advice in advise(server, missing, NO_SOFTWARE)] == ["pip install 'vegrt[cpu]'"]


def test_the_table_names_the_driver_its_cuda_and_the_set() -> None:
    probe = GpuProbe((Gpu("NVIDIA L4", "8.9", 23034),), "550.54.15", "", "12.4")
    shown = shown_text(replace(examine(), gpu=probe, gpu_software=GpuSoftware("gpu-cuda12", True, ())))
    assert "550.54.15" in shown
    assert "runs programs for CUDA 12.4 and older" in shown
    assert re.search(r"vegrt\[gpu-cuda12\]\s+installed, and they fit", shown)


def test_nvidia_answers_are_parsed() -> None:
    version = (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC version: 13\n"
    )
    assert parse_driver_version(version) == "550.54.15"
    assert parse_driver_version("") == ""
    open_module = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n"
    assert parse_driver_version(open_module) == "580.65.06"
    assert [cuda_version(number) for number in (12040, 13000, 0)] == ["12.4", "13.0", ""]
    name = "cudaErrorInsufficientDriver"
    assert error_words(35, name, "535.183.01").endswith(
        "(cudaErrorInsufficientDriver): the driver is older than the CUDA of the packages"
    )
    assert error_words(35, name, "") == "CUDA error 35 (cudaErrorInsufficientDriver): no NVIDIA driver"
    assert parse_nvidia_smi("NVIDIA L4, 8.9, 23034\n") == (Gpu("NVIDIA L4", "8.9", 23034),)
    assert parse_nvidia_smi("Orin (nvgpu), [N/A], [N/A]\n") == (Gpu("Orin (nvgpu)", "", 0),)
    assert parse_nvidia_smi("No devices were found\n") == ()


def test_cgroup_limits_of_both_versions_bind(tmp_path: Path) -> None:
    v2, v1 = tmp_path / "sys/fs/cgroup", tmp_path / "sys/fs/cgroup/cpu/docker/1f"
    for file, text in {
        tmp_path / "proc/self/cgroup": "4:cpu,cpuacct:/docker/1f\n5:memory:/gone\n0::/user.slice/app\n",
        v2 / "user.slice/cpu.max": "150000 100000\n",
        v2 / "user.slice/app/cpu.max": "max 100000\n",
        v2 / "user.slice/app/memory.max": "536870912\n",
        v1 / "cpu.cfs_quota_us": "200000\n",
        v1 / "cpu.cfs_period_us": "100000\n",
        v1.parent / "cpu.cfs_quota_us": "-1\n",
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert sorted(cpu_limits(tmp_path)) == [1.5, 2.0]
    assert memory_limits_bytes(tmp_path) == [512 << 20]
    assert cpu_limits(tmp_path / "nowhere") == []


def test_meminfo() -> None:
    assert parse_meminfo("MemTotal:       24684384 kB\nMemFree:        21000000 kB\n") == 24_684_384 << 10
    assert parse_meminfo("") == 0


def test_this_machine_is_diagnosed_as_a_table_and_as_json() -> None:
    diagnosis = examine()
    shown = shown_text(diagnosis)
    assert all(word in shown for word in ("CPU", "int8-cpu", "openvino", diagnosis.machine.cpu.model))
    body = json.loads(json.dumps(diagnosis.to_dict()))
    assert body["machine"]["cores"] > 0
    assert body["machine"]["memory_mib"] > 0
    assert {each["variant"] for each in body["variants"]} - {"bf16"} == {"fp32", "fp16", "int8", "int8-cpu"}


def test_doctor_loads_no_framework() -> None:
    program = (
        "import sys, vegrt.infer.machine.doctor as d; d.examine(); "
        "print(*{'torch', 'openvino', 'tensorrt'} & {*sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


def test_a_table_shows_brackets_as_they_are() -> None:
    machine = Machine("", "x86_64", Cpu("a [bold]model[/]", ()), 1, 1)
    assert "a [bold]model[/]" in shown_text(replace(examine(), machine=machine))
