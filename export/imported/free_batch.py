"""Frees the batch size of a graph that was exported with a fixed one: numbers in it become the size of the input.

Exporters write the shapes of the example as constants. Which of the numbers is the batch follows from where the batch is in each
tensor, from the input on: a Reshape keeps the order of the elements, a Transpose says where an axis goes. Whether the freed graph
is right is decided by the parity gate, on several batch sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

from vegrt.export.onnx.tidy import constant
from vegrt.infer.runtimes.onnxruntime.session import mapped_errors, open_session

_RESULTS_AT_ONCE = 64  # in memory
_BROADCASTING = frozenset({"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "And", "Or", "Equal"})


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the batch is in a tensor. Along `axis`, `inner` neighbours belong to one image; the next image follows."""

    axis: int
    inner: int = 1


def free_batch(model: ir.Model, batch: int) -> None:
    """Rewrite a graph in place that was exported with this batch size, so that it accepts others. 0: nothing is fixed.

    Constants must be initializers. What cannot be followed is left as it is.
    """
    if not batch:
        return
    common.NameFixPass()(model)
    _Freeing(model.graph, batch, _trace(model, batch)).run()
    for value in [value for node in model.graph for value in node.outputs]:
        value.shape = None  # inferred from the constants that were replaced


@dataclass(frozen=True, slots=True)
class _Trace:
    """A run on images of the exported batch. sizes: of each value. arrays: the values that do not depend on the pixels."""

    sizes: Mapping[ir.Value, tuple[int, ...]]
    arrays: Mapping[ir.Value, NDArray[np.generic]]


class _Freeing:
    """One pass over a graph."""

    def __init__(self, graph: ir.Graph, batch: int, trace: _Trace) -> None:
        self._graph, self._batch = graph, batch
        self._sizes, self._arrays = dict(trace.sizes), trace.arrays
        self._places: dict[ir.Value, _Place] = {graph.inputs[0]: _Place(0)}
        self._batch_size: ir.Value | None = None

    def run(self) -> None:
        """Follow the batch through all nodes, in their order."""
        followers: dict[str, Callable[[ir.Node, ir.Value], _Place | None]] = {
            "Reshape": self._reshape,
            "Flatten": self._reshape,
            "Transpose": self._transpose,
            "Squeeze": self._squeeze,
            "Unsqueeze": self._unsqueeze,
            "Gather": self._gather,
            "Concat": self._concat,
            "QLinearConcat": self._concat,  # its scales are among its inputs
            "Expand": self._expand,
        }
        for node in list(self._graph):
            source = next((value for value in node.inputs if value in self._places), None)
            if source is None or node.outputs[0] not in self._sizes:
                continue
            reduces = node.op_type.startswith("Reduce") or node.op_type in ("ArgMax", "ArgMin")
            follow = self._reduce if reduces else followers.get(node.op_type, self._aligned)
            if place := follow(node, source):
                self._places |= {
                    output: place for output in node.outputs if self._fits(place, self._sizes.get(output, ()))
                }

    def _fits(self, place: _Place, sizes: tuple[int, ...]) -> bool:
        return 0 <= place.axis < len(sizes) and sizes[place.axis] % (place.inner * self._batch) == 0

    def _aligned(self, node: ir.Node, source: ir.Value) -> _Place:
        """Return the place for operators that keep it, if ranks differ counted from the last axis, as broadcasting does."""
        place, rank = self._places[source], len(self._sizes[node.outputs[0]])
        aligned = replace(place, axis=place.axis + rank - len(self._sizes[source]))
        if node.op_type in _BROADCASTING and self._batch > 1:
            for index, value in enumerate(node.inputs):
                axis = aligned.axis - rank + self._rank(value)
                if axis >= 0 and (first := self._first_of_equal(value, axis)) is not None:
                    node.replace_input_with(index, self._constant(first, node))
        return aligned

    def _reshape(self, node: ir.Node, source: ir.Value) -> _Place | None:
        """Free the batch in the target of a Reshape; return its place in the result."""
        place, before, after = self._places[source], self._sizes[source], self._sizes[node.outputs[0]]
        stride = place.inner * prod(before[place.axis + 1 :])  # from one image to the next
        axis = _axis_of_stride(after, stride, self._batch, preferred=place.axis)
        if axis is None:
            return None
        if node.op_type != "Flatten":
            sizes = [-1 if index == axis else size for index, size in enumerate(after)]
            reshaped = ir.node("Reshape", [source, self._constant(np.array(sizes), node)], name=node.name)
            _replace(self._graph, node, reshaped)
            self._places[reshaped.outputs[0]] = _Place(axis, stride // prod(after[axis + 1 :]))
            self._sizes[reshaped.outputs[0]] = after
            return None
        return _Place(axis, stride // prod(after[axis + 1 :]))

    def _transpose(self, node: ir.Node, source: ir.Value) -> _Place:
        place = self._places[source]
        order = node.attributes.get_ints("perm", None) or range(len(self._sizes[source]))[::-1]
        return replace(place, axis=list(order).index(place.axis))

    def _squeeze(self, node: ir.Node, source: ir.Value) -> _Place | None:
        axes = _axes(node, len(self._sizes[source]))
        return _without(self._places[source], axes) if axes else None

    def _unsqueeze(self, node: ir.Node, source: ir.Value) -> _Place:
        place, rank = self._places[source], len(self._sizes[node.outputs[0]])
        others = [axis for axis in range(rank) if axis not in _axes(node, rank)]
        return replace(place, axis=others[place.axis])

    def _reduce(self, node: ir.Node, source: ir.Value) -> _Place | None:
        place, rank = self._places[source], len(self._sizes[source])
        axes = _axes(node, rank) or list(range(rank))
        keeps_axes = node.attributes.get_int("keepdims", 1) == 1
        return place if keeps_axes and place.axis not in axes else _without(place, axes)

    def _gather(self, node: ir.Node, source: ir.Value) -> _Place | None:
        place, axis = self._places[source], node.attributes.get_int("axis", 0) % len(self._sizes[source])
        if source is node.inputs[0] and self._is_view(node):
            return self._reshape(node, source)
        if source is not node.inputs[0] or axis == place.axis:
            return None
        return replace(place, axis=place.axis + self._rank(node.inputs[1]) - 1) if axis < place.axis else place

    def _is_view(self, node: ir.Node) -> bool:
        """Return whether a Gather takes all elements of a vector in their order, as torch exports a strided view (2.14)."""
        indices = self._array(node.inputs[1])
        size = self._sizes[node.outputs[0]]
        return indices is not None and indices.ndim > 1 and np.array_equal(indices.ravel(), np.arange(prod(size)))

    def _concat(self, node: ir.Node, source: ir.Value) -> _Place | None:
        """Repeat constants, such as a class token, for each image; return the place."""
        place, rank = self._places[source], len(self._sizes[source])
        if node.attributes.get_int("axis", 0) % rank == place.axis:
            return None
        for index, value in enumerate(node.inputs):
            first = self._first_of_equal(value, place.axis) if place.inner == 1 else None
            if first is not None and first.ndim == rank:
                node.replace_input_with(index, self._repeated(first, place.axis, node))
        return place

    def _expand(self, node: ir.Node, source: ir.Value) -> _Place:
        place = self._aligned(node, source)
        if source is node.inputs[0]:
            sizes = [1 if index == place.axis else size for index, size in enumerate(self._sizes[node.outputs[0]])]
            node.replace_input_with(1, self._constant(np.array(sizes), node))
        return place

    def _first_of_equal(self, value: ir.Value | None, axis: int) -> NDArray[np.generic] | None:
        """Return a constant for one image, if it has one equal slice along `axis` for each image of the batch."""
        array = self._array(value)
        if array is None or axis >= array.ndim or array.shape[axis] != self._batch:
            return None
        first = array.take([0], axis)
        return first if np.array_equal(np.broadcast_to(first, array.shape), array) else None

    def _array(self, value: ir.Value | None) -> NDArray[np.generic] | None:
        """Return the content of a value that is the same for all images; None for any other."""
        if value is None or value.const_value is None:
            return None if value is None else self._arrays.get(value)
        return value.const_value.numpy()

    def _rank(self, value: ir.Value | None) -> int:
        array = self._array(value)
        return 0 if array is None else array.ndim

    def _repeated(self, array: NDArray[np.generic], axis: int, before: ir.Node) -> ir.Value:
        """Return a constant for one image as a value for all images, by nodes in front of `before`."""
        sizes = [self._constant(np.array([size]), before) for size in array.shape]
        sizes[axis] = self._size_of_input()
        shape = ir.node("Concat", sizes, {"axis": 0})
        repeated = ir.node("Expand", [self._constant(array, before), shape.outputs[0]])
        self._graph.insert_before(before, [shape, repeated])
        return repeated.outputs[0]

    def _size_of_input(self) -> ir.Value:
        """Return the number of images, (1,) int64."""
        if self._batch_size is None:
            first = self._graph[0]
            shape = ir.node("Shape", [self._graph.inputs[0]])
            size = ir.node("Gather", [shape.outputs[0], self._constant(np.array([0]), first)])
            self._graph.insert_before(first, [shape, size])
            self._batch_size = size.outputs[0]
        return self._batch_size

    def _constant(self, array: NDArray[np.generic], before: ir.Node) -> ir.Value:
        node = ir.node("Constant", [], {"value": ir.Tensor(array)})
        self._graph.insert_before(before, node)
        return node.outputs[0]


def _axis_of_stride(sizes: tuple[int, ...], stride: int, batch: int, *, preferred: int) -> int | None:
    """Return the axis of a tensor with these sizes in which images follow each other after `stride` elements; None if none.

    Where sizes of 1 leave a choice: not the last axis if it also has the features of one image, as a matrix product needs them
    there; an axis that begins with the images; the preferred one; the first.
    """
    after = [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    fitting = [
        axis
        for axis, size in enumerate(sizes)
        if after[axis] and stride % after[axis] == 0 and size % (batch * (stride // after[axis])) == 0 and size
    ]
    return min(
        fitting,
        key=lambda axis: (
            after[axis] < stride and axis == len(sizes) - 1,
            sizes[axis] * after[axis] != stride * batch,
            axis != preferred,
        ),
        default=None,
    )


def _axes(node: ir.Node, rank: int) -> list[int]:
    """Return the axes of a Squeeze, Unsqueeze or reduction, from an input or, in early opsets, an attribute; empty if none."""
    given = constant(node.inputs[1]) if len(node.inputs) > 1 else list(node.attributes.get_ints("axes", ()))
    return [axis % rank for axis in given or ()]


def _without(place: _Place, axes: list[int]) -> _Place | None:
    """Return the place after these axes are removed; None if it was in one of them."""
    return None if place.axis in axes else replace(place, axis=place.axis - sum(axis < place.axis for axis in axes))


def _replace(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    before, after = old.outputs[0], new.outputs[0]
    after.name, after.type = before.name, before.type
    ir.convenience.replace_nodes_and_values(graph, old, [old], [new], [before], [after])


def _values_of_pixels(graph: ir.Graph) -> set[ir.Value | None]:
    """Return the input and all values that are computed from its pixels, not only from its sizes."""
    values: set[ir.Value | None] = set(graph.inputs)
    for node in graph:
        if node.op_type not in ("Shape", "Size") and not values.isdisjoint(node.inputs):
            values |= set(node.outputs)
    return values


def _trace(model: ir.Model, batch: int) -> _Trace:
    """Return the trace of a graph, from a run: shape inference does not know ONNX Runtime's own operators."""
    values = [value for node in model.graph for value in node.outputs if value.name]
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    for value in values:
        proto.graph.output.add().name = str(value.name)
    images = model.graph.inputs[0]
    shape = (batch, *(size for size in (images.shape or ())[1:] if isinstance(size, int)))
    session, feed = open_session(proto.SerializeToString()), {images.name: np.zeros(shape, np.float32)}
    of_pixels = _values_of_pixels(model.graph)
    sizes: dict[ir.Value, tuple[int, ...]] = {images: shape}
    arrays: dict[ir.Value, NDArray[np.generic]] = {}
    for start in range(0, len(values), _RESULTS_AT_ONCE):
        part = values[start : start + _RESULTS_AT_ONCE]
        with mapped_errors("model", shape):
            results = dict(zip(part, session.run([value.name for value in part], feed), strict=True))
        results = {value: array for value, array in results.items() if isinstance(array, np.ndarray)}  # not lists
        sizes |= {value: array.shape for value, array in results.items()}
        arrays |= {value: array for value, array in results.items() if value not in of_pixels}
    return _Trace(sizes, arrays)
