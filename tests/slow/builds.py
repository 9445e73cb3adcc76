"""All five backbones as ONNX and as TensorRT-RTX plans in fp32, fp16 and int8: sizes, build seconds, layer types, as Markdown.

    python tests/slow/builds.py [BACKBONE...]        random weights, 224 x 224 pixels; no photos: ranges of int8 are [-1, 1]
    python tests/slow/builds.py --additions [BACKBONE...]        int8 only, with Q/DQ otherwise placed around residual additions

The types do not depend on the ranges. Nothing is executed.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import tensorrt_rtx as trt
import torch
from safetensors.torch import save_file

from vegrt.backbones import BACKBONES, build_network, contract_of
from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import changing
from vegrt.bundle.manifest import Manifest
from vegrt.calibration.graph.check import check_placement
from vegrt.calibration.graph.encode import Range, insert_qdq
from vegrt.calibration.graph.onnx_graph import copy_graph, serialize
from vegrt.calibration.graph.placement import Edge, Placement, plan_quantization
from vegrt.export.engines.audit import audit_model
from vegrt.export.engines.build import build_engine
from vegrt.export.engines.engines import WEIGHT_TYPES
from vegrt.export.engines.options import Profile
from vegrt.export.onnx.fp16 import to_fp16
from vegrt.export.onnx.model import export_fp32

CLASSES = tuple(f"class{index}" for index in range(15))
SIZE = 224


def random_bundle(backbone: str, path: Path) -> Bundle:
    torch.manual_seed(0)
    with changing(path) as staging:
        save_file(build_network(backbone, len(CLASSES)).state_dict(), staging.file("weights.safetensors"))
        staging.add("weights.safetensors", "weights")
        staging.finish(Manifest(backbone, CLASSES, contract_of(backbone, SIZE), {"backbone": backbone, "head": "gap"}))
    return open_bundle(path)


def models_of(bundle: Bundle) -> dict[str, bytes]:
    fp32 = export_fp32(bundle)
    fp16 = copy_graph(fp32)
    to_fp16(fp16)
    int8: ir.Model = copy_graph(fp16)
    placement = plan_quantization(int8, "signed")
    insert_qdq(int8, placement, dict.fromkeys(placement.activations, Range(-1.0, 1.0)), "signed")
    check_placement(int8, "signed")
    return {"fp32": serialize(fp32), "fp16": serialize(fp16), "int8": serialize(int8)}


def rows_of(backbone: str) -> Iterator[list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        models = models_of(random_bundle(backbone, Path(folder, backbone)))
    for variant, model in models.items():
        start = time.monotonic()
        engine = build_engine(trt, f"{backbone} {variant}", model, Profile())
        seconds = time.monotonic() - start
        audit = audit_model(engine.layers, model, WEIGHT_TYPES[variant])
        types = Counter("/".join(layer.inputs[:1]) or "none" for layer in engine.layers)
        listed = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
        sizes = (f"{len(data) / 1e6:.1f}" for data in (model, engine.plan))
        yield [backbone, variant, *sizes, f"{seconds:.1f}", str(audit), f"{len(engine.layers)}: {listed}"]


def addition_rows(backbone: str) -> Iterator[list[str]]:
    """Yield what the builder makes of an int8 graph for each way to quantize at its additions."""
    with tempfile.TemporaryDirectory() as folder:
        fp16 = export_fp32(random_bundle(backbone, Path(folder, backbone)))
    to_fp16(fp16)
    ours = plan_quantization(fp16, "signed")
    ways = {"skip connection (ours)": ours, "nothing": without_additions(fp16, ours), "both": both_inputs(fp16, ours)}
    for way, placement in ways.items():
        model = copy_graph(fp16)
        insert_qdq(model, placement, dict.fromkeys(placement.activations, Range(-1.0, 1.0)), "signed")
        layers = build_engine(trt, way, serialize(model), Profile()).layers
        counts = Counter(kind for layer in layers for kind in layer.outputs[:1])
        yield [backbone, way, str(len(layers)), *(str(counts[kind]) for kind in ("Int8", "Half", "Float"))]


def without_additions(model: ir.Model, ours: Placement) -> Placement:
    additions = {node.name for node in model.graph if node.op_type == "Add"}
    activations = {
        name: tuple(edge for edge in edges if edge.node not in additions) for name, edges in ours.activations.items()
    }
    return replace(ours, activations={name: edges for name, edges in activations.items() if edges})


def both_inputs(model: ir.Model, ours: Placement) -> Placement:
    skipped = {edge.node for edges in ours.activations.values() for edge in edges}
    edges_of = {name: dict.fromkeys(edges) for name, edges in ours.activations.items()}
    for node in model.graph:
        if node.op_type == "Add" and node.name in skipped:
            for index, value in enumerate(node.inputs):
                edges_of.setdefault(str(value and value.name), {})[Edge(node.name, index)] = None
    return replace(ours, activations={name: tuple(edges) for name, edges in edges_of.items()})


def main(words: list[str]) -> None:
    additions, backbones = "--additions" in words, [word for word in words if not word.startswith("--")]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, TensorRT-RTX {trt.__version__}"
    sys.stdout.write(f"{versions}; profile {Profile()}, default level, {SIZE} x {SIZE}\n\n")
    heads = ["backbone", "variant", "ONNX MB", "plan MB", "build s", "weight layers", "layers by type of first input"]
    if additions:
        heads = ["backbone", "quantized at additions", "engine layers", "give Int8", "give Half", "give Float"]
    for row in (heads, ["---"] * len(heads)):
        sys.stdout.write(f"| {' | '.join(row)} |\n")
    for backbone in backbones or list(BACKBONES):
        for row in addition_rows(backbone) if additions else rows_of(backbone):
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
