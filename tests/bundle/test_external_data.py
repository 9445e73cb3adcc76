"""A bundle's ONNX file that names other files is refused wherever in the graph it does so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vegrt.bundle.bundle import Bundle
from vegrt.bundle.entries import MANIFEST
from vegrt.bundle.external_data import check_self_contained
from vegrt.errors import BundleError
from vegrt.files.hashing import sha256_of
from vegrt.infer.api import load

VALUES = numpy_helper.from_array(np.ones(4, np.float32), "w")


def external() -> TensorProto:
    tensor = TensorProto()
    tensor.CopyFrom(VALUES)
    onnx.external_data_helper.set_external_data(tensor, "extra.bin", length=16)
    tensor.ClearField("raw_data")
    return tensor


def graph(tensor: TensorProto | None = None, *nodes: onnx.NodeProto) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph_nodes = nodes or (helper.make_node("Identity", ["w"], ["y"]),)
    return helper.make_graph(list(graph_nodes), "g", [], [value], [tensor] if tensor else [])


def _initializer() -> onnx.ModelProto:
    return helper.make_model(graph(external()))


def _constant() -> onnx.ModelProto:
    return helper.make_model(graph(None, helper.make_node("Constant", [], ["y"], value=external())))


def _subgraph() -> onnx.ModelProto:
    inner = graph(external())
    return helper.make_model(graph(None, helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)))


def _tensors() -> onnx.ModelProto:
    node = helper.make_node("X", [], ["y"])
    node.attribute.append(helper.make_attribute("many", [VALUES, external()]))
    return helper.make_model(graph(None, node))


def _sparse() -> onnx.ModelProto:
    model = helper.make_model(graph())
    model.graph.sparse_initializer.add().values.CopyFrom(external())
    return model


def _function() -> onnx.ModelProto:
    node = helper.make_node("Constant", [], ["y"], value=external())
    function = helper.make_function("local", "f", [], ["y"], [node], [helper.make_opsetid("", 20)])
    return helper.make_model(graph(VALUES), functions=[function])


def _training() -> onnx.ModelProto:
    model = helper.make_model(graph(VALUES))
    model.training_info.add().initialization.CopyFrom(graph(external()))
    return model


def _context() -> onnx.ModelProto:
    node = helper.make_node(
        "EPContext", [], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="evil.engine"
    )
    return helper.make_model(graph(None, node))


@pytest.mark.parametrize(
    "make",
    [_initializer, _constant, _subgraph, _tensors, _sparse, _function, _training, _context],
    ids=lambda one: one.__name__,
)
def test_external_data_is_found_wherever_it_is_named(make: object, tmp_path: Path) -> None:
    assert callable(make)
    (tmp_path / "x.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(BundleError, match=r"x\.onnx: reads another file, which the manifest does not cover"):
        check_self_contained(tmp_path / "x.onnx")


def test_a_word_that_looks_like_external_data_is_accepted(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.frombuffer(b"location" * 4, np.float32), "location")
    model = helper.make_model(graph(tensor, helper.make_node("Identity", ["location"], ["y"], "EPContext")))
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    check_self_contained(tmp_path / "x.onnx")


DEEP = b"\x3a\x0a\x0a\x08"  # a graph of ten bytes, in it a node of eight


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"location",
        b"\x0b\x0clocation",
        b"\x3a\xff\xff\xff\xff\x7flocation",
        DEEP + b"location",
        b"\x3a\x0c\x0a\x0alocation\x0b\x0b",
        DEEP + b"\xff" * 8 + b"\x42\x08location",
    ],
)
def test_a_file_that_is_not_onnx_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"x\.onnx: not an ONNX file"):
        check_self_contained(tmp_path / "x.onnx")


def test_external_data_written_in_an_unusual_way_is_found(tmp_path: Path) -> None:
    """An enumeration and a key of more bits than they have, which protobuf cuts off."""
    tensor = b"\x70\x81\x80\x80\x80\x10" + b"\x0a\x08location"  # data_location 1 + 2**32
    key = b"\xaa\x80\x80\x80\x10"  # 5 << 3 | 2, and bit 32
    model = b"\x3a" + bytes([len(key) + 1 + len(tensor)]) + key + bytes([len(tensor)]) + tensor
    (tmp_path / "x.onnx").write_bytes(model)
    with pytest.raises(BundleError, match="reads another file"):
        check_self_contained(tmp_path / "x.onnx")


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_bundle_with_external_data_does_not_load(copied: Bundle, runtime: str) -> None:
    file = copied.file("model", "fp32")
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="extra.bin")
    manifest = json.loads((copied.path / MANIFEST).read_text())
    for artifact in manifest["artifacts"]:
        if artifact["path"] == file.name:
            artifact |= {"sha256": sha256_of(file), "size_bytes": file.stat().st_size}
    (copied.path / MANIFEST).write_text(json.dumps(manifest))
    assert (copied.path / "extra.bin").is_file()
    with pytest.raises(BundleError, match=r"fp32\.onnx: reads another file"):
        load(copied.path, variant="fp32", runtime=runtime)


def test_a_file_that_mnn_would_take_weights_from_is_refused(copied: Bundle) -> None:
    """MNN finds it by the name of the model; it is neither listed in the manifest nor signed."""
    load(copied.path, variant="fp32", runtime="mnn")
    (copied.path / "fp32.mnn.weight").write_bytes(bytes(64))
    with pytest.raises(BundleError, match=r"fp32\.mnn\.weight: MNN would read weights from it"):
        load(copied.path, variant="fp32", runtime="mnn")
