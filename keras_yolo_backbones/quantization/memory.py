"""The memory that a model's int8 TFLite file will need, before it is exported."""

from __future__ import annotations

import math

import keras
from keras import tree

from keras_yolo_backbones.arena import Buffer, most_alive, planned
from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.quantization.lower import KERNELS, lower
from keras_yolo_backbones.quantization.scales import Scales

TENSOR, OPERATOR, CHANNEL = 24, 194, 8
"""Bytes that TFLite Micro keeps for each tensor, operator and output channel of a convolution, on a 64-bit machine.

Fitted to what its allocator reports for the int8 files of eight families, which it meets to a tenth; a 32-bit chip
needs less.
"""


def predicted_memory(model: keras.Model) -> dict[str, int]:
    """What `arena.memory` will say of the int8 file, and what TFLite Micro keeps beside the activations, in bytes.

    Args:
        model: a float functional model with a fixed image size.

    Returns:
        `activations` and `arena`, as `arena.memory` has them; `weights`: kernels and biases;
        `micro_arena`: the whole arena of TFLite Micro.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: the image size is open, or a layer is not known.
    """
    graph = read(lower(model))
    place = _places(graph)
    buffers = _activations(graph, place)
    kernels = [node.layer for node in graph.nodes if isinstance(node.layer, KERNELS)]
    channels = sum(_channels(layer) for layer in kernels)
    weights = sum(math.prod(layer.kernel.shape) for layer in kernels) + 4 * channels
    count, arena = len(set(place.values())), planned(buffers)
    kept = TENSOR * (count + 2 * len(kernels)) + OPERATOR * count + CHANNEL * channels
    return {"activations": most_alive(buffers), "arena": arena, "weights": weights, "micro_arena": arena + kept}


def _places(graph: Graph) -> dict[Node, int]:
    """The number of the operator that each node becomes; a node that TFLite absorbs has the number of the next."""
    scales = Scales(graph, (0.0, 1.0))
    place: dict[Node, int] = {}
    count = 0
    for node in graph.nodes:
        place[node] = count
        count += not scales.absorbed(node)
    return place


def _activations(graph: Graph, place: dict[Node, int]) -> list[Buffer]:
    """One buffer for each tensor between operators, of one byte a value."""
    end = max(place.values()) + 1
    returned = {value.node for value in tree.flatten(graph.outputs)}
    buffers = []
    for node in graph.nodes:
        readers = [place[other] for other in graph.consumers(node)]
        if any(reader == place[node] for reader in readers):
            continue  # absorbed
        last = end if node in returned else max([*readers, place[node]])
        for output in tree.flatten(node.layer.output):
            shape = output.shape[1:]
            if None in shape:
                raise GraphError(f"layer {node.layer.name!r} has the open shape {shape}; build the model for one size.")
            buffers.append(Buffer(math.prod(shape), place[node], last))
    return buffers


def _channels(layer: keras.layers.Layer) -> int:
    """Output channels of a layer with a kernel."""
    shape = layer.kernel.shape
    return shape[-1] * shape[-2] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[-1]
