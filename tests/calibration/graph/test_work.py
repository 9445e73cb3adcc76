"""What is counted as work, and which part of it is in 8 bits, on graphs with known sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

from vegrt.calibration.graph.placement import Encoding, plan_quantization, quantizable_nodes
from vegrt.calibration.graph.work import Work, multiplications, share_percent, weight_layers, work_in_8_bits

SIDE, PATCH, WIDTH, HIDDEN, CLASSES, BLOCKS = 32, 8, 16, 32, 4, 2
TOKENS = (SIDE // PATCH) ** 2


def graph_of(nodes: Sequence[NodeProto], weights: dict[str, tuple[int, ...]], **constants: list[int]) -> ir.Model:
    """Return a graph of uint8 `images` (N, SIDE, SIDE, 3) with random weights of these shapes and int64 constants."""
    random = np.random.default_rng(0)
    stored = {name: random.normal(0, 0.2, shape).astype(np.float32) for name, shape in weights.items()}
    numbers: dict[str, np.ndarray[Any, Any]] = {name: np.array(value, np.int64) for name, value in constants.items()}
    front = [
        helper.make_node("Cast", ["images"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], "transpose", perm=[0, 3, 1, 2]),
    ]
    graph = helper.make_graph(
        [*front, *nodes],
        "known",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in {**stored, **numbers}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    checker.check_model(model)
    return ir.passes.common.ShapeInferencePass()(ir.from_proto(model)).model


def node(kind: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), [output], output, **attributes)


def token_network() -> ir.Model:
    """Return a patch embedding (Conv), blocks of two linear layers on tokens with a skip connection, and a Gemm."""
    nodes = [
        node("Conv", "planes patch", "patches", strides=[PATCH, PATCH]),
        node("Reshape", "patches flat", "rows"),
        node("Transpose", "rows", "tokens0", perm=[0, 2, 1]),
    ]
    weights: dict[str, tuple[int, ...]] = {"patch": (WIDTH, 3, PATCH, PATCH), "head": (CLASSES, WIDTH)}
    for index in range(BLOCKS):
        weights |= {f"up{index}": (WIDTH, HIDDEN), f"down{index}": (WIDTH, HIDDEN)}
        nodes += [
            node("MatMul", f"tokens{index} up{index}", f"wide{index}"),
            node("Relu", f"wide{index}", f"relu{index}"),
            node("Transpose", f"down{index}", f"turned{index}", perm=[1, 0]),  # weights behind a Transpose
            node("MatMul", f"relu{index} turned{index}", f"narrow{index}"),
            node("Transpose", f"narrow{index}", f"keys{index}", perm=[0, 2, 1]),
            node("MatMul", f"narrow{index} keys{index}", f"attention{index}"),  # two activations: no weights
            node("MatMul", f"attention{index} narrow{index}", f"mixed{index}"),
            node("Add", f"tokens{index} mixed{index}", f"tokens{index + 1}"),
        ]
    nodes += [
        node("ReduceMean", f"tokens{BLOCKS} middle", "mean", keepdims=0),
        node("Gemm", "mean head", "logits", transB=1),
    ]
    return graph_of(nodes, weights, flat=[0, WIDTH, -1], middle=[1])


def test_linear_layers_on_tokens_are_in_8_bits_and_attention_counts() -> None:
    """Weights behind a Transpose stay in float: an export has none, because it folds constants."""
    model = token_network()
    patch, block, head = TOKENS * WIDTH * 3 * PATCH**2, TOKENS * WIDTH * HIDDEN, WIDTH * CLASSES
    product = TOKENS * TOKENS * WIDTH
    macs = multiplications(model)
    assert [count for _, count in macs] == [patch, *[block, block, product, product] * BLOCKS, head]
    assert [node.op_type for node in weight_layers(model)] == ["Conv", *["MatMul"] * 2 * BLOCKS, "Gemm"]
    total = sum(count for _, count in macs)
    (work,) = work_in_8_bits(model, {"int8": ()}).values()
    assert work.share == pytest.approx(1 - (BLOCKS * block + head) / total)
    assert (work.layers, work.all_layers) == (1 + BLOCKS, 2 + 2 * BLOCKS)
    assert (
        str(work)
        == f"{work.share:.1%} of all multiplications ({1 + BLOCKS} of {2 + 2 * BLOCKS} weight layers) in 8 bits"
    )
    products = [f"{name}{index}" for name in ("attention", "mixed") for index in range(BLOCKS)]
    in_float = work_in_8_bits(model, {"int8": products})["int8"]
    assert in_float.share == pytest.approx((patch + BLOCKS * block) / total)
    assert in_float.layers == work.layers
    rest = ["patches", *(f"wide{index}" for index in range(BLOCKS))]
    assert work_in_8_bits(model, {"int8": [*products, *rest]})["int8"] == Work(0, 0, 2 + 2 * BLOCKS, total)
    assert work.macs_per_image == total
    assert [share_percent(share) for share in (1, 0.99999, 0.9987, 0)] == ["100.0%", "99.9%", "99.9%", "0.0%"]


def test_the_multiplications_of_every_operator_with_weights_are_counted() -> None:
    nodes = [
        node("Conv", "planes first", "c", group=3, strides=[2, 2]),  # 16 x 16 of 6 channels, 1 x 2 x 2 weights each
        node("ConvTranspose", "c up", "t", strides=[2, 2]),  # each of 16 x 16 pixels meets all weights
        node("Reshape", "t tall", "rows"),  # the 32 x 32 pixels of 5 channels as rows of a matrix
        node("Gemm", "rows g", "r"),
        node("Einsum", "r e", "x", equation="ij,jk->ik"),
        node("Reshape", "x back", "y"),
        node("Einsum", "y f", "z", equation="b...c,cd->b...d"),
        node("ReduceMean", "z middle", "mean", keepdims=0),
        node("MatMul", "left mean_", "turned"),  # weights on the left
        node("Transpose", "turned", "logits", perm=[1, 0]),
    ]
    nodes.insert(-2, node("Transpose", "mean", "mean_", perm=[1, 0]))
    shapes = {"first": (6, 1, 2, 2), "up": (6, 5, 2, 2), "g": (5, 7), "e": (7, 2), "f": (2, 3), "left": (CLASSES, 3)}
    model = graph_of(nodes, shapes, tall=[-1, 5], back=[-1, SIDE * SIDE, 2], middle=[1])
    pixels = SIDE * SIDE
    counts = [256 * 6 * 4, 256 * 6 * 5 * 4, pixels * 5 * 7, pixels * 7 * 2, pixels * 2 * 3, CLASSES * 3]
    assert multiplications(model) == list(zip(["c", "t", "r", "x", "z", "turned"], counts, strict=True))


@pytest.mark.parametrize("encoding", ["signed", "unsigned"])
def test_additions_between_float_layers_get_no_pairs(encoding: Encoding) -> None:
    placement = plan_quantization(token_network(), encoding)
    readers = {edge.node for edges in placement.activations.values() for edge in edges}
    products = {f"{name}{index}" for name in ("wide", "attention", "mixed") for index in range(BLOCKS)}
    assert readers == {"patches", *products} | ({"rows"} if encoding == "unsigned" else set())
    assert placement.weights == {"patch": 0} | {f"up{index}": 1 for index in range(BLOCKS)}


@pytest.mark.parametrize("heads", ["one MatMul", "two Gemms", "a convolution", "a pooled convolution"])
def test_the_classifiers_stay_in_float(heads: str) -> None:
    """All layers that compute the logits with no other layer between, whatever their operator; not a pooled convolution."""
    front = [
        node("Conv", "planes conv", "c"),
        node("GlobalAveragePool", "c", "pool"),
        node("Flatten", "pool", "flat"),
        node("Gemm", "flat hidden", "h"),
        node("Relu", "h", "r"),
    ]
    rear = {
        "one MatMul": [node("MatMul", "r first", "m"), node("Add", "m bias", "logits")],
        "two Gemms": [node("Gemm", "r first", "a"), node("Gemm", "r second", "b"), node("Add", "a b", "logits")],
        "a convolution": [
            node("Reshape", "r square", "s"),
            node("Conv", "s last", "d"),
            node("Flatten", "d", "logits"),
        ],
        "a pooled convolution": [
            node("Reshape", "r square", "s"),
            node("Conv", "s last", "d"),
            node("GlobalAveragePool", "d", "p"),
            node("Flatten", "p", "logits"),
        ],
    }
    shapes = {"conv": (8, 3, 3, 3), "hidden": (8, 8), "first": (8, CLASSES), "second": (8, CLASSES), "bias": (CLASSES,)}
    model = graph_of([*front, *rear[heads]], shapes | {"last": (CLASSES, 8, 1, 1)}, square=[0, 8, 1, 1])
    expected = {"c", "h"} | ({"d"} if heads == "a pooled convolution" else set())
    assert {layer.name for layer in quantizable_nodes(model)} == expected


@pytest.mark.parametrize("behind", ["conv", "relu", "next"])
def test_an_addition_beside_a_convolution_keeps_its_pair(behind: str) -> None:
    """The convolution is before the addition, before it with a Relu between, or behind it."""
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", "planes one", "conv", **same),
        node("Relu", "conv", "relu"),
        node("Softplus", "relu", "other"),
        node("Softplus", "other", "far"),
        node("Add", f"{'far' if behind == 'next' else behind} other", "sum"),
        node("Relu" if behind == "next" else "Softplus", "sum", "act"),
        node("Conv" if behind == "next" else "Softplus", "act two" if behind == "next" else "act", "last"),
        node("GlobalAveragePool", "last", "pool"),
        node("Flatten", "pool", "logits"),
    ]
    model = graph_of(nodes, {"one": (4, 3, 3, 3), "two": (CLASSES, 4, 3, 3)})
    read = {edge.node for edges in plan_quantization(model, "signed").activations.values() for edge in edges}
    assert "sum" in read
