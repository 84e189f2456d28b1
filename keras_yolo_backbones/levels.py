"""Levels of a feature pyramid, read off any model whose outputs are named P2, P3, …"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import keras

from keras_yolo_backbones.arguments import check_model, is_functional
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.fragile import output_of


class Level(NamedTuple):
    """One feature map of a pyramid.

    Attributes:
        name: such as `"P3"`, or `"P3_scores"` in a detector.
        stride: input pixels per cell, 2ⁿ for Pn.
        channels: features of a cell; `None` if the model leaves it open.
        layer: name of the layer that makes it, such as `"stage3.cv2.act"`.
        stage: the part of the network that this layer is in: `"stage3"`. `kyb.freeze(model, until=stage)` takes it.
    """

    name: str
    stride: int
    channels: int | None
    layer: str = ""
    stage: str = ""


def pyramid(model: keras.Model) -> tuple[Level, ...]:
    """The levels that `model` returns, in its own order.

    Args:
        model: any model whose output is a dict with keys such as `"P3"` or `"P3_scores"`: a backbone, one with a neck,
            a detector. Where that is not so, the levels of the first model nested in it that has such outputs.

    Raises:
        ArgumentError: `model` is no functional model, or neither it nor a model in it has such outputs.
    """
    check_model(model)
    found = _levels(model)
    if not found:
        outputs = model.output
        said = f"outputs called {', '.join(outputs)}" if isinstance(outputs, dict) else "no dict of outputs"
        raise ArgumentError(
            f"model {model.name!r} has {said}; expected outputs that are called after levels, such as "
            '{"P3": …, "P4": …} or {"P3_scores": …}.'
        )
    return found


def stride_of(name: str) -> int | None:
    """The stride of an output that is called after a level, `"P3"` or `"P3_scores"`: 8; `None` for other names."""
    match = re.fullmatch(r"P([1-9])(_.+)?", name)
    return 2 ** int(match[1]) if match else None


def is_level(name: str) -> bool:
    """Whether an output is called as the levels of a backbone are, `"P3"`, with nothing after it."""
    return re.fullmatch(r"P[1-9]", name) is not None


def _levels(model: keras.Model) -> tuple[Level, ...]:
    outputs = model.output
    if isinstance(outputs, dict) and all(stride_of(name) for name in outputs):
        return tuple(_level(name, tensor) for name, tensor in outputs.items())
    nested = (_levels(layer) for layer in model.layers if is_functional(layer))
    return next((levels for levels in nested if levels), ())


def _level(name: str, tensor: Any) -> Level:
    layer = _maker(tensor)
    return Level(name, stride_of(name) or 0, tensor.shape[-1], layer, layer.split(".")[0])


def _maker(tensor: Any) -> str:
    """Name of the layer that makes a tensor; within a nested model, of the layer in there."""
    operation, index = output_of(tensor)
    return _maker(operation.outputs[index]) if is_functional(operation) else operation.name
