"""The memory that a model's int8 TFLite file will need, before it is exported."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import keras
from keras import tree

from keras_yolo_backbones.arena import Buffer, most_alive, planned
from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.quantization.lower import KERNELS, lower
from keras_yolo_backbones.quantization.scales import Scales

TENSOR, OPERATOR, KERNEL, CHANNEL = 24, 98, 126, 8
"""Bytes that TFLite Micro keeps for each tensor, operator, convolution (in addition) and output channel of it.

On a 64-bit machine: fitted to what its allocator reports for int8 files, which it meets to a few percent; a 32-bit chip
needs less.
"""


class Activation(NamedTuple):
    """A tensor between operators: its shape without the batch, and the first and the last operator that need it."""

    shape: tuple[int, ...]
    first: int
    last: int


class Footprint(NamedTuple):
    """What an int8 file will hold and compute.

    Attributes:
        activations: in the order of the operators.
        turned: shapes of the second factors that TFLite Micro turns round; it keeps all of them at once.
        weights: bytes of kernels and biases.
        kept: bytes that TFLite Micro keeps, whatever the image size, apart from `turned`.
    """

    activations: list[Activation]
    turned: list[tuple[int, ...]]
    weights: int
    kept: int

    def need(self) -> dict[str, int]:
        """See `predicted_memory`."""
        buffers = [Buffer(math.prod(tensor.shape), tensor.first, tensor.last) for tensor in self.activations]
        arena, kept = planned(buffers), self.kept + sum(map(math.prod, self.turned))
        need = {"activations": most_alive(buffers), "arena": arena, "weights": self.weights}
        return need | {"micro_arena": arena + kept}


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
    return footprint(model).need()


def footprint(model: keras.Model) -> Footprint:
    """What the int8 file of a model will hold and compute. Raises as `predicted_memory` does."""
    graph = read(lower(model, checked=False))
    order = _order(graph)
    activations = _activations(graph, order)
    kernels = [node.layer for node in graph.nodes if isinstance(node.layer, KERNELS)]
    channels = sum(_channels(layer) for layer in kernels)
    weights = sum(math.prod(layer.kernel.shape) for layer in kernels) + 4 * channels
    count = len(set(order.place.values())) - 1  # without that of the images
    kept = TENSOR * (len(activations) + 2 * len(kernels)) + OPERATOR * count
    return Footprint(activations, _turned(graph), weights, kept + KERNEL * len(kernels) + CHANNEL * channels)


class _Order(NamedTuple):
    """The operators of the file that a graph becomes.

    Attributes:
        place: the number of the operator that each node becomes; a node that TFLite absorbs has that of the next.
        first: node -> the node that computes the same, of which the converter keeps only the first.
    """

    place: dict[Node, int]
    first: dict[Node, Node]


def _order(graph: Graph) -> _Order:
    scales = Scales(graph, (0.0, 1.0))
    place: dict[Node, int] = {}
    first: dict[Node, Node] = {}
    known: dict[Any, Node] = {}
    count = 0
    for node in converters_order(graph):
        key: Any = node
        if isinstance(node.layer, keras.layers.ZeroPadding2D):
            key = (node.inputs[0], node.layer.padding)  # grouped convolutions written one by one pad alike
        first[node] = known.setdefault(key, node)
        place[node] = place.get(first[node], count)
        count += first[node] is node and not scales.absorbed(node)
    return _Order(place, first)


def converters_order(graph: Graph) -> list[Node]:
    """The nodes in the order in which TensorFlow's converter writes them.

    It is the reverse of the order in which a depth-first search leaves them, from the images and the constants, that
    visits what uses a tensor from the last name to the first.
    """

    def name(node: Node) -> str:
        return f"{graph.label(node)}_1/"

    roots = [node for node in graph.nodes if not node.inputs or isinstance(node.layer, KERNELS)]
    stack = [(node, False) for node in sorted(roots, key=name)]
    seen: set[Node] = set()
    left: list[Node] = []
    while stack:
        node, done = stack.pop()
        if done:
            left.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(user, False) for user in sorted(set(graph.consumers(node)), key=name) if user not in seen]
    return left[::-1]


def _activations(graph: Graph, order: _Order) -> list[Activation]:
    place = order.place
    end = max(place.values()) + 1
    returned = {value.node for value in tree.flatten(graph.outputs)}
    last: dict[Node, int] = {}
    for node in place:
        readers = [place[other] for other in graph.consumers(node)]
        last[order.first[node]] = max([last.get(order.first[node], 0), *readers, place[node]])
    found = []
    for node in last:
        if any(place[reader] == place[node] for reader in graph.consumers(node)):
            continue  # absorbed
        for output in tree.flatten(node.layer.output):
            shape = tuple(output.shape[1:])
            if None in shape:
                raise GraphError(f"layer {node.layer.name!r} has the open shape {shape}; build the model for one size.")
            found.append(Activation(shape, place[node], end if node in returned else last[node]))
    return found


def _channels(layer: keras.layers.Layer) -> int:
    """Output channels of a layer with a kernel."""
    shape = layer.kernel.shape
    return shape[-1] * shape[-2] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[-1]


def _turned(graph: Graph) -> list[tuple[int, ...]]:
    """Shapes of the second factors that a product does not take as they lie.

    It takes a transposed factor so, unless the converter has put that together with a transpose before it.
    """
    shapes = []
    for node in graph.nodes:
        if type(node.layer).__name__ in ("MatMul", "Matmul"):
            value = node.inputs[1]
            transposed = getattr(node.layer, "transpose", False)
            if not transposed or type(value.node.layer).__name__ in ("Permute", "Transpose"):
                shapes.append(tuple(tree.flatten(value.node.layer.output)[value.index].shape[1:]))
    return shapes
