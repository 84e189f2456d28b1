"""Which layers stay float: those that were named, and what lies between them if that saves conversions."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence

import keras

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.select import select
from keras_yolo_backbones.quantization.lower import activation_of, tensor_names
from keras_yolo_backbones.quantization.scales import FUSED, Scales, carried


def float_nodes(graph: Graph, scales: Scales, names: Sequence[str]) -> set[Node]:
    """The calls of a lowered graph that are computed in float.

    These are the calls that were named, and calls next to them that only move values (pooling, padding, concatenation,
    …), chosen so that the file has as few conversions between integers and floats as possible.

    Args:
        graph: from `lower`.
        scales: of this graph.
        names: layers as the plan and the report call them; `"stage4"` also means all of `"stage4.…"`, and `*` and `?`
            are wildcards.

    Raises:
        ArgumentError: a name that no layer has.
    """
    kept = _named(graph, scales, names)
    return _least_converted(graph, scales, kept) if kept else kept


def _named(graph: Graph, scales: Scales, names: Sequence[str]) -> set[Node]:
    if isinstance(names, str):
        raise ArgumentError(f"keep_float={names!r}: expected a list of layer names, such as [{names!r}].")
    called = {node: name for node, name in tensor_names(graph).items() if not _is_input(node)}
    kept: set[Node] = set()
    for wanted in names:
        kept |= select(called, wanted, argument="keep_float", where="the fused network (quantization.plan lists all)")
    layers = {id(node.layer) for node in kept if getattr(node.layer, "weights", None)}
    kept |= {node for node in graph.nodes if id(node.layer) in layers}  # weights that are shared are so in one form
    return kept | {partner for node in kept for partner in _fused_with(graph, scales, node)}


def _fused_with(graph: Graph, scales: Scales, node: Node) -> list[Node]:
    """What TFLite computes in one operator with `node`: the ReLU after it or, for a ReLU, what is before it."""
    if scales.absorbed(node):
        return [consumer for consumer in [graph.only_consumer(node)] if consumer is not None]
    if activation_of(node.layer) in FUSED:
        return [value.node for value in node.inputs if scales.absorbed(value.node)]
    return []


def _least_converted(graph: Graph, scales: Scales, kept: set[Node]) -> set[Node]:
    """`kept`, and the calls between them that only move values, where leaving these float saves conversions.

    It is a minimum cut: float on one side, integer on the other, and each tensor that crosses is one conversion.
    """
    flow = _Flow()
    for node in graph.nodes:
        if node in kept:
            flow.join(_FLOAT, node)
        elif _is_input(node) or scales.rounds(node):
            flow.join(node, _INTEGER)
        for value in carried(node):
            _may_convert(flow, value, node)
    for value in keras.tree.flatten(graph.outputs):
        _may_convert(flow, value, _INTEGER)
    return {side for side in flow.near_side() if isinstance(side, Node)}


def _may_convert(flow: _Flow, value: Value, consumer: Hashable) -> None:
    """A tensor costs one conversion if any of its consumers is on the other side, however many are."""
    to_integer, to_float = ("to integer", value), ("to float", value)
    flow.join(value.node, to_integer, 1)
    flow.join(to_integer, consumer)
    flow.join(consumer, to_float)
    flow.join(to_float, value.node, 1)


_FLOAT, _INTEGER = "float", "integer"


class _Flow:
    """A network of capacities between `_FLOAT` and `_INTEGER`; its least cut is the largest flow."""

    def __init__(self) -> None:
        self._room: dict[Hashable, dict[Hashable, float]] = defaultdict(lambda: defaultdict(float))

    def join(self, start: Hashable, end: Hashable, capacity: float = math.inf) -> None:
        self._room[start][end] = max(self._room[start][end], capacity)
        self._room[end][start] += 0

    def near_side(self) -> set[Hashable]:
        """The smallest side of a least cut that holds `_FLOAT`."""
        while True:
            before = self._reach()
            if _INTEGER not in before:
                return set(before)
            end: Hashable = _INTEGER
            while end != _FLOAT:  # all that is cut has capacity 1
                start = before[end]
                self._room[start][end] -= 1
                self._room[end][start] += 1
                end = start

    def _reach(self) -> dict[Hashable, Hashable]:
        """What can be reached from `_FLOAT` where room is left -> what it was reached from."""
        before: dict[Hashable, Hashable] = {_FLOAT: _FLOAT}
        waiting: deque[Hashable] = deque([_FLOAT])
        while waiting:
            start = waiting.popleft()
            for end, room in self._room[start].items():
                if room > 0 and end not in before:
                    before[end] = start
                    waiting.append(end)
        return before


def _is_input(node: Node) -> bool:
    return isinstance(node.layer, keras.layers.InputLayer)
