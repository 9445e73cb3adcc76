"""Which variant will be fast on a processor and GPU, and why: rules from instruction sets, or what was measured on this machine.

The order of the runtimes in float32 on x86 is that of five networks on AMD Zen 3, 2 cores, batch 8 (ONNX Runtime 1.32, OpenVINO
2026.4, MNN 3.6), in images/s: VGG16 5.4, 5.1, 12.0; ResNet18 43.0, 35.0, 63.8; ResNet50 17.7, 16.2, 18.7; MobileNetV2 151, 99,
122; EfficientNet-B0 79, 52, 55.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vegrt.infer.machine.gpu import GpuProbe
from vegrt.infer.machine.measured import NETWORK_KINDS, TIMED_VARIANTS, MachineMeasurements, NetworkKind
from vegrt.machine import Cpu

Speed = Literal["fast", "fair", "slow"]

_FASTER = 1.5  # ratio of images/s from which int8-cpu is fast
_SAME = 1.05  # ratio of images/s below which two runtimes are equally fast
_WINOGRAD_FIRST, _WINOGRAD_SECOND = ("mnn", "onnxruntime", "openvino"), ("onnxruntime", "mnn", "openvino")
_FP32_ON_X86: dict[NetworkKind | None, tuple[str, ...]] = {
    "convolutions": _WINOGRAD_FIRST,
    "bottlenecks": _WINOGRAD_FIRST,
    "depthwise": _WINOGRAD_SECOND,
    None: _WINOGRAD_SECOND,
}
_DOT_PRODUCTS = frozenset({"asimddp", "i8mm"})
_BF16_INSTRUCTIONS = frozenset({"avx512_bf16", "amx_bf16"})
# onnxruntime.ai/docs/performance/model-optimizations/quantization.html: VPMADDUBSW adds pairs in 16 bits, saturating.
_WITHOUT_VNNI = "no VNNI but VPMADDUBSW: a smaller gain"
_IN_FLOAT = "no VNNI: sums of 8-bit weights would saturate in 16 bits, so it is computed in float; take int8-cpu"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a variant will run here. runtime: the one that suits it best, installed or not. others: the next best, in order."""

    variant: str
    speed: Speed
    runtime: str
    reason: str
    others: tuple[str, ...] = ()

    def place(self, runtime: str) -> int:
        """Return 0 for the runtime that suits the variant best, 1 for the next best, and so on."""
        order = (self.runtime, *self.others)
        return order.index(runtime) if runtime in order else len(order)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A forecast compared with a measurement: which of the runtimes that were measured is the fastest.

    agrees: also if the forecast's runtime was slower by less than a twentieth.
    """

    kind: NetworkKind
    variant: str
    forecast: str
    measured: str
    agrees: bool


def forecast(
    cpu: Cpu, gpu: GpuProbe, *, measured: MachineMeasurements | None = None, kind: NetworkKind | None = None
) -> tuple[Verdict, ...]:
    """Return how fast each variant will be on that processor and GPU, and why: fp32, fp16, int8, int8-cpu; bf16 if it has bf16.

    measured: on this processor; for fp32 and int8-cpu it counts instead of the rules, unless it is doubtful. kind: of the
    network; None if unknown.
    """
    on_cpu = _on_arm(cpu) if "asimd" in cpu.features else _on_x86(cpu, kind)
    if measured and not measured.busy:
        on_cpu = tuple(_by_measurement(verdict, measured, kind) for verdict in on_cpu)
    if not gpu.gpus:
        return on_cpu
    name = gpu.gpus[0].name
    return (
        Verdict("fp32", "fair", "tensorrt", f"an engine on {name}: the baseline"),
        Verdict("fp16", "fast", "tensorrt", f"an engine on {name}: convolutions on tensor cores"),
        Verdict("int8", "fast", "tensorrt", f"an engine on {name}: int8 convolutions; beats fp16 at larger batches"),
        on_cpu[-1],
    )


def compare_forecast(cpu: Cpu, measured: MachineMeasurements) -> tuple[Comparison, ...]:
    """Return whether the rules agree with what was measured, for each kind of network and variant of which two runtimes ran."""
    comparisons = []
    for kind in NETWORK_KINDS:
        verdicts = {verdict.variant: verdict for verdict in forecast(cpu, GpuProbe((), "", ""), kind=kind)}
        for variant in TIMED_VARIANTS:
            rates = measured.ranking(variant, kind)
            if len(rates) > 1:
                expected, fastest = min(rates, key=verdicts[variant].place), next(iter(rates))
                agrees = rates[fastest] < _SAME * rates[expected]
                comparisons.append(Comparison(kind, variant, expected, fastest, agrees))
    return tuple(comparisons)


def _by_measurement(verdict: Verdict, measured: MachineMeasurements, kind: NetworkKind | None) -> Verdict:
    """Return a verdict by the measured speeds; the same verdict if its variant was not measured."""
    rates, fp32 = measured.ranking(verdict.variant, kind), measured.ranking("fp32", kind)
    if not rates:
        return verdict
    runtime, *others = rates
    speed = verdict.speed
    if verdict.variant != "fp32" and fp32:
        ratio = rates[runtime] / max(fp32.values())
        speed = "fast" if ratio >= _FASTER else "fair" if ratio >= 1 else "slow"
    shown = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    reason = f"measured here, images/s of a small network: {shown}"
    return replace(verdict, speed=speed, runtime=runtime, others=tuple(others), reason=reason)


def _on_x86(cpu: Cpu, kind: NetworkKind | None) -> tuple[Verdict, ...]:
    features = set(cpu.features)
    vnni, bf16 = not cpu.saturates, bool(features & _BF16_INSTRUCTIONS)
    int8: Speed = "fast" if vnni else "fair" if "avx2" in features else "slow"
    why = "u8 x s8 on VNNI or AMX" if vnni else _WITHOUT_VNNI if "avx2" in features else "no AVX2"
    fp32 = "float32 arithmetic; MNN is faster for 3x3 convolutions (VGG, ResNet)"
    if bf16:
        fp32 += "; bf16 on OpenVINO is faster on this CPU: vegrt evaluate judges it"
    first, *others = _FP32_ON_X86[kind]
    in_bf16 = Verdict("bf16", "fast", "openvino", "bfloat16 instructions; computed from fp32.onnx")
    return (
        Verdict("fp32", "fair", first, fp32, tuple(others)),
        *([in_bf16] if bf16 else []),
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
        # ONNX Runtime 1.32 fuses none of its convolutions to 8-bit ones: docs/decisions/0041
        Verdict("int8", "fair" if half else "slow", "onnxruntime", "computed in float, on 8-bit values; take int8-cpu"),
        Verdict("int8-cpu", int8, "onnxruntime", why),
    )
