"""One step from a float graph and ranges to a checked 8-bit graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import onnx_ir as ir

from vegrt.calibration.graph.check import check_placement
from vegrt.calibration.graph.encode import Range, insert_qdq
from vegrt.calibration.graph.normalization import merge_normalization
from vegrt.calibration.graph.placement import Encoding, plan_quantization

# Largest weight magnitude. x86 CPUs without VNNI add pairs of u8 x s8 products in 16 bits, which saturates above 64 * 255 * 2;
# with 64 the CPU model gives the same answers on every CPU (docs/decisions/0003).
WEIGHT_LEVELS: dict[Encoding, int] = {"signed": 127, "unsigned": 64}

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

Ranges = Mapping[str, Range]


def quantize_graph(
    model: ir.Model, encoding: Encoding, ranges: Ranges, float_layers: frozenset[str] = frozenset()
) -> None:
    """Insert Q/DQ pairs with these ranges into a float32 or float16 graph, in place, and check the result.

    float_layers: names of nodes that stay in float. Raises ModelError when the result breaks a rule of the encoding.
    """
    if encoding == "unsigned":
        merge_normalization(model)
    placement = plan_quantization(model, encoding, float_layers=float_layers)
    insert_qdq(model, placement, ranges, encoding, weight_levels=WEIGHT_LEVELS[encoding])
    check_placement(model, encoding)
