"""Splitting a batch norm that acts on a concat (Scaled-YOLOv4) over the tensors that meet there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.graph.copies import copied
from keras_yolo_backbones.graph.fold import Replacement, affine, folded, folds_into, is_norm, norm_axis, pass_through
from keras_yolo_backbones.graph.ir import Graph, Node, Value


def norms_after_concats(graph: Graph) -> dict[Node, Replacement]:
    """The rule: of a batch norm on a concat, the part on a convolution's channels goes into that convolution.

    The part on any other tensor becomes a depthwise 1×1 convolution. Where no convolution can take up a part, the
    batch norm stays.
    """
    found: dict[Node, Replacement] = {}
    for norm in graph.nodes:
        if not is_norm(graph, norm):
            continue
        concat = norm.inputs[0].node
        if not _joins_channels(graph, concat, norm):
            continue
        convs = {value for value in concat.inputs if _is_conv(graph, value, concat)}
        if not convs:
            continue
        scale, shift = affine(norm.layer)
        slices = _slices(concat)
        for value in convs:
            found[value.node] = folded(
                value.node.layer, graph.label(value.node), scale[slices[value]], shift[slices[value]]
            )
        rest = {
            index: (f"{graph.label(norm)}.at{slices[value].start}", scale[slices[value]], shift[slices[value]])
            for index, value in enumerate(concat.inputs)
            if value not in convs
        }
        found[concat] = _rescaled(concat.layer, graph.label(concat), rest)
        found[norm] = pass_through
    return found


def _joins_channels(graph: Graph, concat: Node, norm: Node) -> bool:
    """Whether `concat` is a channel concat of images (batch, height, width, channels) that only `norm` uses."""
    return (
        type(concat.layer) is keras.layers.Concatenate
        and graph.only_consumer(concat) is norm
        and graph.called_once(concat.layer)
        and all(graph.called_once(value.node.layer) for value in concat.inputs)
        and norm.layer.input_spec.ndim == 4
        and concat.layer.axis % 4 == norm_axis(norm.layer) == 3
    )


def _is_conv(graph: Graph, value: Value, concat: Node) -> bool:
    return folds_into(graph, value.node, concat) and value.node.layer.data_format == "channels_last"


def _slices(concat: Node) -> dict[Value, slice]:
    """The channels of the concat that come from each of its inputs."""
    slices, start = {}, 0
    for value in concat.inputs:
        width = keras.tree.flatten(value.node.layer.output)[value.index].shape[-1]
        slices[value] = slice(start, start + width)
        start += width
    return slices


def _rescaled(concat: keras.Layer, name: str, parts: dict[int, tuple[str, np.ndarray, np.ndarray]]) -> Replacement:
    """A copy of `concat`, called `name`, with scale · x + shift on inputs: index -> (layer name, scale, shift)."""

    def build(args: tuple[Any, ...]) -> Any:
        tensors = list(args[0])
        for index, (part, scale, shift) in parts.items():
            layer = keras.layers.DepthwiseConv2D(1, data_format="channels_last", name=part, dtype=concat.dtype_policy)
            tensors[index] = layer(tensors[index])
            layer.set_weights([scale.reshape(1, 1, -1, 1), shift])
        return copied(concat, name=name)(tensors)

    return build
