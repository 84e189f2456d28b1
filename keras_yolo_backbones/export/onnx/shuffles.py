"""Channel shuffles on channels-first maps, the only ones that ONNX' convolutions know, without turning any.

`blocks.interleaved` turns groups of channels, the last axis of a channels-last map. Of channels-first maps the same is
a concat on a new axis.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keras_yolo_backbones.blocks.layers import ReshapeLike
from keras_yolo_backbones.graph.fold import Replacement, pass_through
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild


def shuffles_channels_first(model: keras.Model) -> keras.Model:
    """Let shuffles that are written as in `blocks.interleaved` compute channels-first; the numbers stay the same.

    Args:
        model: a functional model; left untouched.

    Returns:
        A new model, or `model` itself if there is no shuffle in it.
    """
    graph = read(model)
    found: dict[Node, Replacement] = {}
    for node in graph.nodes:
        found |= _shuffle(graph, node)
    if not found:
        return model
    return rebuild(graph, lambda node, args, _: found[node](args) if node in found else NotImplemented)


class ChannelsFirstInterleave(keras.layers.Layer):
    """[a, b], both (batch, height, width, channels) -> their channels by turns, a's first. No weights."""

    def call(self, inputs: list[Any]) -> Any:
        maps = [ops.transpose(x, (0, 3, 1, 2)) for x in inputs]
        _, channels, height, width = ops.shape(maps[0])
        rows = [ops.reshape(x, (-1, channels, 1, height * width)) for x in maps]
        both = ops.reshape(ops.concatenate(rows, axis=2), (-1, 2 * channels, height, width))
        return ops.transpose(both, (0, 2, 3, 1))

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        return (*input_shape[0][:-1], 2 * input_shape[0][-1])


def _shuffle(graph: Graph, last: Node) -> dict[Node, Replacement]:
    """What replaces the calls of the shuffle that ends with `last`; nothing if none does."""
    turn = last.inputs[0].node if isinstance(last.layer, (keras.layers.Reshape, ReshapeLike)) else None
    if turn is None or not isinstance(turn.layer, keras.layers.Permute) or turn.layer.dims != (1, 3, 2):
        return {}
    groups = turn.inputs[0].node
    both = groups.inputs[0].node if isinstance(groups.layer, keras.layers.Reshape) else None
    if both is None or not isinstance(both.layer, keras.layers.Concatenate) or len(both.inputs) != 2:
        return {}
    shape, wanted = both.layer.output.shape, last.layer.output.shape
    own = {turn: [last], groups: [turn], both: [groups, last] if len(last.inputs) == 2 else [groups]}
    once = all(graph.called_once(node.layer) for node in (*own, last))
    if not once or any(sorted(map(id, graph.consumers(node))) != sorted(map(id, those)) for node, those in own.items()):
        return {}
    if (
        len({one.shape for one in both.layer.input}) > 1
        or len(shape) != 4
        or shape != wanted
        or groups.layer.target_shape[1:] != (2, shape[-1] // 2)
    ):
        return {}
    maps: list[Any] = []

    def noting(args: tuple[Any, ...]) -> Any:
        maps.extend(args[0])
        return args[0][0]

    def interleave(_: tuple[Any, ...]) -> Any:
        layer = ChannelsFirstInterleave(name=graph.label(last), dtype=last.layer.compute_dtype)
        return layer(maps)

    return {both: noting, groups: pass_through, turn: pass_through, last: interleave}
