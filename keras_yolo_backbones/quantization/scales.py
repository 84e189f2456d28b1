"""Which tensors TFLite forces to share a scale, and which have one that is fixed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.blocks.layers import ReshapeLike
from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.copies import is_known
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.quantization.lower import KERNELS, activation_of
from keras_yolo_backbones.quantization.ranges import Range, balanced

FIXED: dict[str | None, Range] = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
"""Activations whose int8 operators know only one output scale."""

FUSED = ("relu", "relu6")
"""Activations that TFLite computes inside the operator before them."""

_SAME = {
    *("MaxPooling2D", "AveragePooling2D", "ZeroPadding2D", "Cropping2D", "UpSampling2D", "Resizing", "Concatenate"),
    *("Reshape", "Permute", "Flatten", "ReshapeLike", "SplitAreas", "Identity", "Dropout", "SpatialDropout2D"),
    *("GetItem", "Split", "Transpose", "Squeeze", "ExpandDims", "MaxPool", "AveragePool"),
}
"""Layers and operations whose output has the scale of their input."""

_FREE = {
    *("Add", "Subtract", "Multiply", "Maximum", "Minimum", "MatMul", "Matmul", "Rescaling", "LearnedScale", "Log"),
    *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Mean", "Max"),
}
"""Layers and operations, apart from convolutions and activations, whose output has a scale of its own."""

_ACTIVATIONS = {*FIXED, *FUSED, "leaky_relu", "hard_swish", "gelu", "elu", "exponential"}
"""Activations that are one int8 operator each."""

_FUSE_INTO = (*KERNELS, keras.layers.Add, keras.layers.Subtract, keras.layers.Multiply)


class Scales:
    """What is known of the scales of a lowered graph before any image is seen.

    Attributes:
        graph: from `lower`.
        images: the smallest and the largest value that an image can hold.
        symmetric: whether all ranges, that of images too, are to have their zero in the middle.
    """

    def __init__(self, graph: Graph, images: Range, *, symmetric: bool = False) -> None:
        self.graph = graph
        self.images = images
        self.symmetric = symmetric
        self._parent: dict[Node, Node] = {}
        self._fixed: dict[Node, Range] = {}
        self._position = {node: position for position, node in enumerate(graph.nodes)}
        for node in graph.nodes:
            self._add(node)
        self._centred = {self.group(value.node) for node in graph.nodes for value in _second_factor(node)}

    def group(self, node: Node) -> Node:
        """The first of the nodes that share the scale of this one; it names the group."""
        while self._parent[node] is not node:
            node = self._parent[node]
        return node

    def fixed(self, node: Node) -> Range | None:
        """The range that the scale of `node` is fixed to, if it is."""
        return self._fixed.get(self.group(node))

    def centred(self, node: Node) -> bool:
        """Whether the range of `node` is to have its zero in the middle: all are, or its group is a second factor.

        XNNPACK has an integer product of two tensors only where the zero point of the second is 0. Such a product is
        rounded once, as ONNX' runtimes round it. LiteRT's own kernel rounds twice and is several times slower.
        """
        return self.symmetric or self.group(node) in self._centred

    def absorbed(self, node: Node) -> bool:
        """Whether TFLite computes `node` and the ReLU after it as one operator, with no tensor between them."""
        after = self.graph.only_consumer(node)
        return after is not None and isinstance(node.layer, _FUSE_INTO) and activation_of(after.layer) in FUSED

    def rounds(self, node: Node) -> bool:
        """Whether `node` computes new values, which int8 then rounds; other nodes only move values."""
        return not passes_on(node.layer) or averages(node.layer)

    def converts(self, node: Node) -> list[bool]:
        """For each input of `node`: whether it must be converted, because `node` needs it in a different scale."""
        if not passes_on(node.layer):
            return [False] * len(node.inputs)
        moved = carried(node)
        return [value in moved and self.group(value.node) is not self.group(node) for value in node.inputs]

    def _add(self, node: Node) -> None:
        self._parent[node] = node
        fixed = self._own_fixed(node)
        if fixed is not None:
            self._fixed[node] = fixed
        if not passes_on(node.layer):
            return
        sources = [self.group(value.node) for value in carried(node)]
        ranges = {self._fixed.get(source) for source in sources}
        for source in sources:
            # What has a fixed scale meets others in a concat only through a conversion.
            if len(ranges) == 1 or source not in self._fixed:
                self._join(source, node)

    def _join(self, first: Node, second: Node) -> None:
        first, second = self.group(first), self.group(second)
        earlier, later = sorted((first, second), key=self._position.__getitem__)
        self._parent[later] = earlier

    def _own_fixed(self, node: Node) -> Range | None:
        if isinstance(node.layer, keras.layers.InputLayer):
            return balanced(self.images) if self.symmetric else self.images
        return FIXED.get(activation_of(node.layer))


def _second_factor(node: Node) -> list[Value]:
    """The second factor of a matrix product of two tensors; none for other calls."""
    return node.inputs[1:] if type(node.layer).__name__ in ("MatMul", "Matmul") else []


def is_symmetric(ranges: Iterable[Range]) -> bool:
    """Whether all ranges but those of `FIXED` have their zero in the middle."""
    free = [bounds for bounds in ranges if not any(np.allclose(bounds, fixed, atol=1e-6) for fixed in FIXED.values())]
    return all(np.allclose(bounds, balanced(bounds), rtol=1e-5) for bounds in free)


def passes_on(layer: Any) -> bool:
    """Whether the output of `layer` has the scale of its input.

    Raises:
        GraphError: the layer is not known, so nobody can say.
    """
    name = type(layer).__name__
    if is_known(layer):
        if name in _SAME:
            return True
        if isinstance(layer, (keras.layers.InputLayer, *KERNELS)) or name in _FREE:
            return False
        if activation_of(layer) in _ACTIVATIONS:
            return False
    raise GraphError(
        f"layer {layer.name!r}: quantization does not know {name}. It knows convolutions, dense layers, activations, "
        "pooling, padding, slicing, reshaping, upsampling, Concatenate, Add, Multiply and MatMul; "
        "build the model from these, or leave this layer out and run it in float after the integer file."
    )


def carried(node: Node) -> list[Value]:
    """The inputs of `node` whose values it passes on; `ReshapeLike` uses only the shape of its second input."""
    return node.inputs[:1] if isinstance(node.layer, ReshapeLike) else node.inputs


def averages(layer: Any) -> bool:
    """Whether `layer` computes means of its input, in the scale of its input."""
    name = type(layer).__name__
    if name in ("UpSampling2D", "Resizing"):
        return layer.interpolation != "nearest"
    return name in ("AveragePooling2D", "AveragePool")
