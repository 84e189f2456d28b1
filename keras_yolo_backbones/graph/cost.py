"""What a network costs: multiply-accumulates, counted from its graph."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.read import read


def macs(model: keras.Model) -> int:
    """Multiply-accumulates of one image: convolutions, dense layers and matrix products; biases, pools, sums are free.

    Args:
        model: a functional model with a fixed image size.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: the image size is open, so that there is no such number.
    """
    return sum(_macs(node.layer) for node in read(model).nodes)


def _macs(layer: Any) -> int:
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
