"""All five backbones as ONNX and as TensorRT-RTX plans in fp32, fp16 and int8: sizes, build seconds, layer types, as Markdown.

    python tests/slow/builds.py [BACKBONE...]        random weights, 224 x 224 pixels; no photos: ranges of int8 are [-1, 1]

The types do not depend on the ranges. Nothing is executed.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import tensorrt_rtx as trt
import torch
from safetensors.torch import save_file

from vegrt.bundle import Bundle, Manifest, changing, open_bundle
from vegrt.calibration.check import check_placement
from vegrt.calibration.encode import Range, insert_qdq
from vegrt.calibration.place import place
from vegrt.export.calibrated import copy_of
from vegrt.export.engine import Profile, build_engine
from vegrt.export.engines import WANTED, audit_model
from vegrt.export.fp16 import to_fp16
from vegrt.export.model import export_fp32, serialize
from vegrt.networks import BACKBONES, build_network, contract_of

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
    fp16 = copy_of(fp32)
    to_fp16(fp16)
    int8: ir.Model = copy_of(fp16)
    placement = place(int8, "signed")
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
        audit = audit_model(engine.layers, model, WANTED[variant])
        types = Counter("/".join(layer.inputs[:1]) or "none" for layer in engine.layers)
        listed = ", ".join(f"{count} {kind}" for kind, count in types.most_common())
        sizes = (f"{len(data) / 1e6:.1f}" for data in (model, engine.plan))
        yield [backbone, variant, *sizes, f"{seconds:.1f}", str(audit), f"{len(engine.layers)}: {listed}"]


def main(backbones: list[str]) -> None:
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, TensorRT-RTX {trt.__version__}"
    sys.stdout.write(f"{versions}; profile {Profile()}, default level, {SIZE} x {SIZE}\n\n")
    heads = [
        "backbone",
        "variant",
        "ONNX MB",
        "plan MB",
        "build s",
        "convolutions",
        "engine layers by type of first input",
    ]
    for row in (heads, ["---"] * len(heads)):
        sys.stdout.write(f"| {' | '.join(row)} |\n")
    for backbone in backbones:
        for row in rows_of(backbone):
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:] or list(BACKBONES))
