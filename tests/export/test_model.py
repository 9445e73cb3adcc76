from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from vegrt.bundle import Bundle
from vegrt.dataset import Split
from vegrt.errors import ModelError
from vegrt.export.fp16 import to_fp16
from vegrt.export.model import check_parity, measure_parity
from vegrt.infer.open import FLOAT16_VARIANTS
from vegrt.infer.oracle import TorchRunner
from vegrt.infer.ort import open_onnxruntime
from vegrt.preprocess import Contract, load_image


def test_the_graph_holds_the_contract_and_plain_operators(bundle: Bundle) -> None:
    model = onnx.load(bundle.file("model", "fp32"))
    kinds = [node.op_type for node in model.graph.node]
    assert kinds[:4] == ["Cast", "Transpose", "Mul", "Add"]  # Cast first: TensorRT takes uint8 nowhere else
    assert kinds.count("Conv") == 20
    assert kinds[-3:] == ["GlobalAveragePool", "Flatten", "Gemm"]
    assert not {"BatchNormalization", "Shape", "Gather", "Reshape"} & set(kinds)
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [dim.dim_value or dim.dim_param for dim in images.type.tensor_type.shape.dim] == ["N", 48, 48, 3]
    assert (logits.name, logits.type.tensor_type.elem_type) == ("logits", onnx.TensorProto.FLOAT)


def test_the_file_alone_says_how_to_use_it(bundle: Bundle) -> None:
    for variant in bundle.variants():
        facts = {prop.key: prop.value for prop in onnx.load(bundle.file("model", variant)).metadata_props}
        assert json.loads(facts["vegrt.classes"]) == list(bundle.manifest.classes)
        assert Contract.from_dict(json.loads(facts["vegrt.contract"])) == bundle.manifest.contract


def test_every_variant_answers_like_torch(bundle: Bundle, test_split: Split) -> None:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    want = TorchRunner(bundle).logits(images)
    tolerance = {"fp32": 1e-3, "fp16": 5e-2}
    for variant in bundle.variants():
        got = open_onnxruntime(bundle.file("model", variant), float16=variant in FLOAT16_VARIANTS).logits(images)
        assert got.dtype == np.float32
        if variant in tolerance:
            assert np.abs(got - want).max() < tolerance[variant] * max(1, np.abs(want).max())
        assert (got.argmax(axis=1) == want.argmax(axis=1)).mean() >= (1.0 if variant == "fp32" else 0.9)


def test_fp16_is_half_the_size_and_keeps_its_interface(bundle: Bundle) -> None:
    sizes = {one.variant: one.size_bytes for one in bundle.manifest.artifacts if one.role == "model"}
    assert 0.49 < sizes["fp16"] / sizes["fp32"] < 0.52
    assert sizes["int8"] / sizes["fp32"] < 0.27
    graph = onnx.load(bundle.file("model", "fp16")).graph
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert {kind for name, kind in weights.items() if name.endswith("weight")} == {onnx.TensorProto.FLOAT16}


def test_weights_beyond_fp16_are_named(bundle: Bundle) -> None:
    model = ir.load(bundle.file("model", "fp32"))
    value = model.graph.initializers["fc.weight"]
    assert value.const_value is not None
    value.const_value = ir.Tensor(value.const_value.numpy() * np.float32(1e7), name="fc.weight")
    with pytest.raises(ModelError, match=r"fc\.weight: weights up to .* exceed float16"):
        to_fp16(model)


def test_parity_sees_a_swapped_channel_order(bundle: Bundle, test_split: Split) -> None:
    runner = open_onnxruntime(bundle.file("model", "fp32"))

    class Swapped:
        runtime = runner.runtime
        device: str = "cpu"

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return runner.logits(np.ascontiguousarray(images[..., ::-1]))

    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    same = measure_parity(runner, runner, [images])
    assert (same.images, same.max_abs_error, same.top1_agreement) == (len(images), 0.0, 1.0)
    check_parity("fp32.onnx", same, min_cosine=0.9999, min_agreement=1.0)
    other = measure_parity(runner, Swapped(), [images])
    with pytest.raises(ModelError, match=r"fp32\.onnx: cosine .* nothing was written"):
        check_parity("fp32.onnx", other, min_cosine=0.9999, min_agreement=1.0)


def test_parity_does_not_let_nan_pass(bundle: Bundle, test_split: Split) -> None:
    runner = open_onnxruntime(bundle.file("model", "fp32"))

    class Broken:
        runtime = runner.runtime
        device: str = "cpu"

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            return np.full((len(images), 3), np.nan, np.float32)

    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos[:20]])
    parity = measure_parity(runner, Broken(), [images])
    assert np.isnan(parity.min_cosine)
    with pytest.raises(ModelError, match="cosine nan"):
        check_parity("fp16.onnx", parity, min_cosine=0.9, min_agreement=0.0)
