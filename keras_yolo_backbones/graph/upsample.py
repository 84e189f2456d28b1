"""Nearest-neighbour upsampling as the one operator that runtimes have for it."""

from __future__ import annotations

from typing import Any

import keras

from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild


def upsampling_as_resize(model: keras.Model) -> keras.Model:
    """Put a `Resizing` in place of every nearest-neighbour `UpSampling2D` of a known size; the numbers stay the same.

    Keras writes the latter as repeats, which arrive in TFLite as two TILE and three RESHAPE of five-dimensional
    tensors; resizing arrives as one RESIZE_NEAREST_NEIGHBOR.
    """
    graph = read(model)
    if not any(_replaceable(node) for node in graph.nodes):
        return model

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        if not _replaceable(node):
            return NotImplemented
        (rows, columns), (_, height, width, _) = node.layer.size, args[0].shape
        if height is None or width is None:
            return NotImplemented
        resize = keras.layers.Resizing(
            height * rows,
            width * columns,
            interpolation="nearest",
            data_format="channels_last",
            name=graph.label(node),
            dtype=node.layer.dtype_policy,
        )
        return resize(args[0])

    return rebuild(graph, rule)


def _replaceable(node: Node) -> bool:
    layer = node.layer
    return (
        isinstance(layer, keras.layers.UpSampling2D)
        and layer.interpolation == "nearest"
        and layer.data_format == "channels_last"
    )
