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
    tensors; resizing arrives as one RESIZE_NEAREST_NEIGHBOR. By 16 or more it is several, each by 8 at most: an
    Ethos-U55 takes no other.
    """
    graph = read(model)
    if not any(_replaceable(node) for node in graph.nodes):
        return model

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        if not _replaceable(node):
            return NotImplemented
        _, height, width, _ = args[0].shape
        if height is None or width is None:
            return NotImplemented
        x, label = args[0], graph.label(node)
        *first, last = _steps(*node.layer.size)
        for place, factors in enumerate(first):
            x = _resize(x, factors, name=f"{label}.step{place}", dtype=node.layer.dtype_policy)
        return _resize(x, last, name=label, dtype=node.layer.dtype_policy)

    return rebuild(graph, rule)


def _steps(rows: int, columns: int) -> list[tuple[int, int]]:
    """Factors of which each is 8 at most, for the same power of two along both sides; else the factors as they are."""
    steps = []
    while rows == columns > 8 and rows.bit_count() == 1:
        steps.append((8, 8))
        rows, columns = rows // 8, columns // 8
    return [*steps, (rows, columns)]


def _resize(x: Any, factors: tuple[int, int], **options: Any) -> Any:
    _, height, width, _ = x.shape
    layer = keras.layers.Resizing(
        height * factors[0], width * factors[1], interpolation="nearest", data_format="channels_last", **options
    )
    return layer(x)


def _replaceable(node: Node) -> bool:
    layer = node.layer
    return (
        isinstance(layer, keras.layers.UpSampling2D)
        and layer.interpolation == "nearest"
        and layer.data_format == "channels_last"
    )
