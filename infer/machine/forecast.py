"""Which variant will be fast on a processor and GPU, and why: rules from instruction sets, no measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vegrt.infer.machine.gpu import GpuProbe
from vegrt.machine import Cpu

Speed = Literal["fast", "fair", "slow"]

_DOT_PRODUCTS = frozenset({"asimddp", "i8mm"})
_BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})
# onnxruntime.ai/docs/performance/model-optimizations/quantization.html: VPMADDUBSW adds pairs in 16 bits, saturating.
_WITHOUT_VNNI = "no VNNI but VPMADDUBSW: a smaller gain"
_IN_FLOAT = "no VNNI: sums of 8-bit weights would saturate in 16 bits, so it is computed in float; take int8-cpu"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a variant will run here. runtime: the one that suits it best, installed or not."""

    variant: str
    speed: Speed
    runtime: str
    reason: str


def forecast(cpu: Cpu, gpu: GpuProbe) -> tuple[Verdict, ...]:
    """Return how fast each variant will be on that processor and GPU, and why: fp32, fp16, int8, int8-cpu."""
    on_cpu = _on_arm(cpu) if "asimd" in cpu.features else _on_x86(cpu)
    if not gpu.gpus:
        return on_cpu
    name = gpu.gpus[0].name
    return (
        Verdict("fp32", "fair", "tensorrt", f"an engine on {name}: the baseline"),
        Verdict("fp16", "fast", "tensorrt", f"an engine on {name}: convolutions on tensor cores"),
        Verdict("int8", "fast", "tensorrt", f"an engine on {name}: int8 convolutions; beats fp16 at larger batches"),
        on_cpu[-1],
    )


def _on_x86(cpu: Cpu) -> tuple[Verdict, ...]:
    features = set(cpu.features)
    vnni, bf16 = not cpu.saturates, bool(features & _BF16_INSTRUCTIONS)
    int8: Speed = "fast" if vnni else "fair" if "avx2" in features else "slow"
    why = "u8 x s8 on VNNI or AMX" if vnni else _WITHOUT_VNNI if "avx2" in features else "no AVX2"
    fp32 = (
        "float32 arithmetic; bf16 on OpenVINO is faster on this CPU: vegrt export --bf16"
        if bf16
        else "float32 arithmetic"
    )
    return (
        Verdict("fp32", "fair", "onnxruntime", fp32),
        Verdict("fp16", "slow", "onnxruntime", "no fp16 kernels on x86: casts around fp32 arithmetic; take fp32"),
        Verdict("int8", "fast", "openvino", f"{why}; ONNX Runtime runs its signed activations slower: take int8-cpu")
        if vnni
        else Verdict("int8", "slow", "openvino", _IN_FLOAT),
        Verdict("int8-cpu", int8, "openvino", why),
    )


def _on_arm(cpu: Cpu) -> tuple[Verdict, ...]:
    dot, half = bool(set(cpu.features) & _DOT_PRODUCTS), "asimdhp" in cpu.features
    int8: Speed = "fast" if dot else "fair"
    why = "dot-product instructions (asimddp, i8mm)" if dot else "no dot-product instructions: a smaller gain"
    fp16 = "fp16 arithmetic, used by some kernels only: measure" if half else "no fp16 arithmetic: casts; take fp32"
    return (
        Verdict("fp32", "fair", "onnxruntime", "NEON"),
        Verdict("fp16", "fair" if half else "slow", "onnxruntime", fp16),
        Verdict("int8", int8, "onnxruntime", f"{why}; casts around its fp16 parts: int8-cpu has none"),
        Verdict("int8-cpu", int8, "onnxruntime", why),
    )
