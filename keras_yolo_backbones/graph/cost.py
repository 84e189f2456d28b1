"""What a network costs, counted from its graph: multiply-accumulates, and the memory of its activations."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read


def macs(model: keras.Model) -> int:
    """Multiply-accumulates of one image: convolutions, dense layers and matrix products; biases, pools, sums are free.

    Args:
        model: a functional model with a fixed image size.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: the image size is open, so that there is no such number.
    """
    return sum(macs_of(node.layer) for node in read(model).nodes)


def macs_of(layer: Any) -> int:
    """Multiply-accumulates of one call of a layer, see `macs`."""
    count = getattr(layer, "macs", None)  # a layer of our own that multiplies says so itself
    if count is None and not isinstance(layer, (keras.layers.Dense, keras.layers.DepthwiseConv2D, keras.layers.Conv2D)):
        return 0
    shape = tree.flatten(layer.output)[0].shape[1:]
    if None in shape:
        raise GraphError(f"layer {layer.name!r} has the open shape {shape}; build the model for one image size.")
    if count is not None:
        return count()
    kernel = layer.kernel.shape
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return math.prod(shape) * kernel[0] * kernel[1]
    return math.prod(shape) * math.prod(kernel[:-1])


def activation_memory(model: keras.Model) -> int:
    """The most values that one image's tensors hold at a time, if every layer is computed in the order of the graph.

    A tensor lives from the layer that makes it to the last one that reads it; what the model returns lives to the end.
    One value is one byte in an int8 file and four in float32. Runtimes that compute in place or fuse layers need less.

    Args:
        model: a functional model with a fixed image size.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: the image size is open, so that there is no such number.
    """
    graph = read(model)
    position = {node: place for place, node in enumerate(graph.nodes)}
    returned = {value.node for value in tree.flatten(graph.outputs)}
    last = {
        node: len(graph.nodes) if node in returned else max(map(position.__getitem__, graph.consumers(node)), default=0)
        for node in graph.nodes
    }
    most = 0
    live: dict[Node, int] = {}
    for place, node in enumerate(graph.nodes):
        live[node] = _values(node.layer)
        most = max(most, sum(live.values()))
        live = {other: count for other, count in live.items() if last[other] > place}
    return most


def _values(layer: Any) -> int:
    shape = tree.flatten(layer.output)[0].shape[1:]
    if None in shape:
        raise GraphError(f"layer {layer.name!r} has the open shape {shape}; build the model for one image size.")
    return math.prod(shape)
