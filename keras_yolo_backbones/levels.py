"""Levels of a feature pyramid, read off any model whose outputs are named P2, P3, …"""

from __future__ import annotations

import re
from typing import NamedTuple

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError


class Level(NamedTuple):
    """One feature map of a pyramid.

    Attributes:
        name: such as `"P3"`.
        stride: input pixels per cell, 2ⁿ for Pn.
        channels: features of a cell; `None` if the model leaves it open.
    """

    name: str
    stride: int
    channels: int | None


def pyramid(model: keras.Model) -> tuple[Level, ...]:
    """The levels that `model` returns, in its own order.

    Args:
        model: any model whose output is a dict with keys such as `"P3"`: a backbone, or a backbone with a neck.

    Raises:
        ArgumentError: `model` is no functional model, its output is no dict, or a key is no level name.
    """
    check_model(model)
    outputs = model.output
    if not isinstance(outputs, dict):
        raise ArgumentError(
            f"model {model.name!r} returns no dict of levels; expected outputs such as "
            '{"P3": …, "P4": …}, as every backbone of this package has.'
        )
    strange = [name for name in outputs if not re.fullmatch(r"P[1-9]", name)]
    if strange:
        raise ArgumentError(f"outputs of {model.name!r} that are no levels: {', '.join(strange)}; expected P2, P3, ….")
    return tuple(Level(name, 2 ** int(name[1:]), tensor.shape[-1]) for name, tensor in outputs.items())
