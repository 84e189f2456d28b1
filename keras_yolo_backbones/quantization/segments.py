"""A fake-quantized model cut where a single tensor connects what is before with what is after, and run part by part."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.graph.copies import copied
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.quantization.integer_form import plain_layer
from keras_yolo_backbones.quantization.kernels import FLOAT
from keras_yolo_backbones.quantization.layers import Converted, FakeQuant
from keras_yolo_backbones.quantization.lower import activation_of
from keras_yolo_backbones.quantization.simulated import UNROUNDED, unrounded

Call = Callable[..., Any]
"""What is called in place of a layer."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """Calls in order, from one tensor to the next that everything goes through.

    Attributes:
        nodes: the calls.
        source: the tensor that it is run on.
        end: the tensor that the next segment is run on; the last output of the last one.
        returned: outputs of the model in it, but for `end`.
    """

    nodes: list[Node]
    source: Value
    end: Value
    returned: list[Value]

    def run(self, tensor: Any, calls: Mapping[int, Call]) -> list[Any]:
        """`end` and what is returned, for a tensor in place of `source`.

        Args:
            tensor: a batch.
            calls: by the id of a layer, what is called in its place; others are called themselves, not in training.
        """
        made = {self.source: tensor}

        def filled(leaf: Any) -> Any:
            return made[leaf] if isinstance(leaf, Value) else leaf

        for node in self.nodes:
            args, kwargs = tree.map_structure(filled, (node.args, node.kwargs))
            results = calls.get(id(node.layer), node.layer)(*args, **kwargs)
            made.update({Value(node, index): result for index, result in enumerate(tree.flatten(results))})
        return [made[value] for value in (self.end, *self.returned)]


def segments(graph: Graph) -> list[Segment]:
    """The parts of a fake-quantized graph, each with a kernel at least; a single one where nothing can be cut."""
    (source,) = tree.flatten(graph.inputs)
    returned = list(dict.fromkeys(tree.flatten(graph.outputs)))
    position = {node: index for index, node in enumerate(graph.nodes)}
    last = {node: max((position[other] for other in graph.consumers(node)), default=-1) for node in graph.nodes}
    found: list[Segment] = []
    nodes: list[Node] = []
    open_until = -1
    for index, node in enumerate(graph.nodes):
        reaches = max(open_until, index) > index  # something before is still needed after this call
        open_until = max(open_until, last[node])
        if isinstance(node.layer, keras.layers.InputLayer):
            open_until = -1
            continue
        nodes.append(node)
        kernel = any(type(other.layer) in FLOAT for other in nodes)
        rest = any(type(other.layer) in FLOAT for other in graph.nodes[index + 1 :])
        cut = isinstance(node.layer, FakeQuant) and not _before_activation(graph, node)
        if cut and kernel and rest and not reaches and last[node] > index:
            found.append(_segment(nodes, source, Value(node, 0), returned))
            source, nodes = Value(node, 0), []
    end = next(value for value in reversed(returned) if value.node in nodes)
    return [*found, _segment(nodes, source, end, returned)]


def _before_activation(graph: Graph, node: Node) -> bool:
    """Whether an activation uses the tensor: its range may be cut where the activation makes nothing of it."""
    return any(activation_of(consumer.layer) for consumer in graph.consumers(node))


def own_layers(part: Segment, parts: list[Segment]) -> list[Any]:
    """The layers that no other part calls."""
    elsewhere = {id(node.layer) for other in parts if other is not part for node in other.nodes}
    return list({id(node.layer): node.layer for node in part.nodes if id(node.layer) not in elsewhere}.values())


def _segment(nodes: list[Node], source: Value, end: Value, returned: list[Value]) -> Segment:
    inside = set(nodes)
    return Segment(nodes, source, end, [value for value in returned if value.node in inside and value != end])


def whole(graph: Graph) -> Segment:
    """All of a graph as one part."""
    (source,) = tree.flatten(graph.inputs)
    returned = list(dict.fromkeys(tree.flatten(graph.outputs)))
    nodes = [node for node in graph.nodes if not isinstance(node.layer, keras.layers.InputLayer)]
    return Segment(nodes, source, returned[-1], returned[:-1])


def float_calls(graph: Graph, primitive: keras.Model | None = None) -> dict[int, Call]:
    """What to call in place of each layer for the numbers of a float network.

    Args:
        graph: of the fake-quantized model.
        primitive: the lowered model whose weights to take, the fake-quantized model's own by default.
    """
    calls: dict[int, Call] = {}
    for layer in {id(node.layer): node.layer for node in graph.nodes}.values():
        if isinstance(layer, (FakeQuant, Converted)):
            calls[id(layer)] = lambda tensor: tensor
        elif type(layer) in UNROUNDED:
            calls[id(layer)] = unrounded(layer)
        elif type(layer) in FLOAT:
            plain = plain_layer(layer, rounded=False)
            if primitive is not None:
                plain.set_weights(primitive.get_layer(layer.name).get_weights())
            calls[id(layer)] = plain
        elif isinstance(layer, keras.Layer) and layer.weights:
            calls[id(layer)] = copied(layer)
    return calls
