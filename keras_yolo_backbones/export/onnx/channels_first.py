"""Attention on channels-first maps, the only ones that ONNX' convolutions know, without turning any.

`blocks.attention` cuts heads out of (batch, height, width, channels) and turns them to (batch, heads, cells, channels),
so that between channels-first convolutions every map is turned twice. A head is a run of channels: of (batch, channels,
height, width) a reshape alone makes (batch · heads, channels of a head, cells), and Einsum multiplies such tensors as
they lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_yolo_backbones.blocks.layers import MatMul, ReshapeLike, SplitAreas
from keras_yolo_backbones.graph.fold import Replacement, pass_through
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild

SCORES = "abc,abd->acd"
"""Of q and k, both (head, channel, cell): (head, cell of q, cell of k)."""

VALUES = "abc,adc->adb"
"""Of the weights (head, cell, cell of v) and v (head, channel, cell): (head, channel, cell).

The weights come first: onnxruntime copies the second factor, and v is the smaller one. Letters are in order of their
first appearance, as Keras rewrites every equation.
"""


def attention_channels_first(model: keras.Model) -> keras.Model:
    """Let attention that is written as in `blocks.attention` compute channels-first; the numbers stay the same.

    Each attention still takes and gives channels-last maps, which it turns where it begins and ends; next to
    convolutions of a channels-first format these turns cancel. Attention of any other form is left alone, and so are
    layers that are called several times.

    Args:
        model: a functional model; left untouched.

    Returns:
        A new model, or `model` itself if there is no such attention in it.
    """
    graph = read(model)
    cuts = {Value(cut.rest[-1], 0): cut for node in graph.nodes if (cut := _cut(graph, node))}
    found: dict[Node, Replacement] = {}
    for node in graph.nodes:
        found |= _attention(graph, node, cuts)
    if not found:
        return model
    return rebuild(graph, lambda node, args, _: found[node](args) if node in found else NotImplemented)


class ChannelsFirstAttention(keras.layers.Layer):
    """[q, k, v], all (batch, height, width, channels) -> softmax(q·kᵀ)·v in each head and area, shaped like v.

    No weights. Where only the batch is open, all shapes are constants.

    Args:
        heads: runs of channels that attend each for itself.
        areas: runs of cells, likewise.
    """

    def __init__(self, heads: int, areas: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.areas = heads, areas

    def call(self, inputs: list[Any]) -> Any:
        batch, height, width, channels = ops.shape(inputs[2])
        rows, cells = -1, height * width
        if not isinstance(cells, int) and self.areas > 1:
            # With every size given, Reshape refuses cells that cannot be dealt out evenly; Split would take them.
            rows, cells = batch * self.heads, cells // self.areas * self.areas
        parts = zip(*(self._cut(x, rows, cells) for x in inputs), strict=True)
        # One area after another: its weights fit into a cache, and an axis for areas would cost Einsum copies.
        y = ops.concatenate([_attend(*part) for part in parts], axis=2)
        return ops.transpose(ops.reshape(y, (-1, channels, height, width)), (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        return tuple(input_shape[2])

    def _cut(self, x: Any, rows: Any, cells: Any) -> list[Any]:
        """A map as (batch · heads, channels of a head, cells), area by area."""
        x = ops.reshape(ops.transpose(x, (0, 3, 1, 2)), (rows, x.shape[3] // self.heads, cells))
        return ops.split(x, self.areas, axis=2) if self.areas > 1 else [x]


def _attend(q: Any, k: Any, v: Any) -> Any:
    return ops.einsum(VALUES, ops.softmax(ops.einsum(SCORES, q, k)), v)


@dataclasses.dataclass(frozen=True, eq=False)
class _Cut:
    """The calls that cut a map into heads, and perhaps areas: `first` takes the map, `rest` what `first` has made."""

    first: Node
    rest: tuple[Node, ...]
    heads: int
    areas: int

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Height, width and channels of the map."""
        return tuple(self.first.layer.input.shape[1:])

    @property
    def width(self) -> int:
        """Channels of a head."""
        return self.first.layer.target_shape[-1]


def _attention(graph: Graph, scores: Node, cuts: dict[Value, _Cut]) -> dict[Node, Replacement]:
    """What stands in place of the calls of one attention; nothing if `scores` is no product of q and k."""
    softmax = _only(graph, scores if _is_product(scores, transpose=True) else None, _is_softmax)
    values = _only(graph, softmax, lambda node: _is_product(node, transpose=False))
    if softmax is None or values is None or values.inputs[0].node is not softmax:
        return {}
    q, k, v = (cuts.get(value) for value in (*scores.inputs, values.inputs[1]))
    if q is None or k is None or v is None or len({(cut.heads, cut.areas) for cut in (q, k, v)}) > 1:
        return {}
    joins = _join(graph, values, v)
    if not joins:
        return {}
    maps: dict[_Cut, Any] = {}

    def noting(cut: _Cut) -> Replacement:
        return lambda args: maps.setdefault(cut, args[0])

    def attend(_: tuple[Any, ...]) -> Any:
        name, policy = graph.label(values), values.layer.dtype_policy
        layer = ChannelsFirstAttention(v.heads, v.areas, name=name, dtype=policy)
        return layer([maps[cut] for cut in (q, k, v)])

    # The last call does all the work; those between hand on what they get, and nobody takes it.
    between = [*q.rest, *k.rest, *v.rest, scores, softmax, values, *joins[:-1]]
    return {**{cut.first: noting(cut) for cut in (q, k, v)}, **dict.fromkeys(between, pass_through), joins[-1]: attend}


def _cut(graph: Graph, first: Node) -> _Cut | None:
    """The cut that begins with `first`: Reshape to (cells, heads, channels), Permute, perhaps a split into areas."""
    turn = _only(graph, first if _three(first) and graph.called_once(first.layer) else None, _is_turn)
    if turn is None:
        return None
    shape, (_, heads, width) = first.layer.input.shape, first.layer.target_shape
    if len(shape) != 4 or shape[-1] != heads * width:
        return None
    split = _only(graph, turn, lambda node: _areas(node, heads, width) > 1)
    areas, rest = (1, (turn,)) if split is None else (_areas(split, heads, width), (turn, split))
    return _Cut(first, rest, heads, areas) if graph.only_consumer(rest[-1]) is not None else None


def _join(graph: Graph, values: Node, v: _Cut) -> tuple[Node, ...]:
    """The calls behind `values` that undo the cut of `v`, the last one to the shape of its map; none if they do not."""
    runs = None
    if v.areas > 1:
        runs = _only(graph, values, lambda node: _three(node) and node.layer.target_shape[::2] == (v.heads, v.width))
        if runs is None:
            return ()
    turn = _only(graph, runs or values, _is_turn)
    last = _only(graph, turn, lambda node: _restores(node, v))
    if turn is None or last is None:
        return ()
    return (turn, last) if runs is None else (runs, turn, last)


def _only(graph: Graph, node: Node | None, is_wanted: Callable[[Node], bool]) -> Node | None:
    """The only consumer of `node`, if there is one and it is what is wanted."""
    found = None if node is None else graph.only_consumer(node)
    return found if found is not None and is_wanted(found) else None


def _is_product(node: Node, *, transpose: bool) -> bool:
    return type(node.layer) is MatMul and node.layer.transpose == transpose


def _is_softmax(node: Node) -> bool:
    """Whether `node` is a softmax over the last of four axes, without a mask."""
    return type(node.layer) is keras.layers.Softmax and node.layer.axis in (-1, 3) and len(node.inputs) == 1


def _is_turn(node: Node) -> bool:
    return type(node.layer) is keras.layers.Permute and node.layer.dims == (2, 1, 3)


def _three(node: Node) -> bool:
    """Whether `node` is a Reshape to three axes behind the batch."""
    return type(node.layer) is keras.layers.Reshape and len(node.layer.target_shape) == 3


def _areas(node: Node, heads: int, width: int) -> int:
    """Into how many runs `node` splits the cells of (heads, cells, width); 1 if it is another call."""
    if type(node.layer) is SplitAreas:
        return node.layer.areas
    if not _three(node) or node.layer.target_shape[0] % heads or node.layer.target_shape[2] != width:
        return 1
    return node.layer.target_shape[0] // heads


def _restores(node: Node, v: _Cut) -> bool:
    """Whether `node` is a Reshape to the shape of the map that `v` cuts."""
    if type(node.layer) is ReshapeLike:
        return node.inputs[1] == v.first.inputs[0]
    return type(node.layer) is keras.layers.Reshape and node.layer.target_shape == v.shape
