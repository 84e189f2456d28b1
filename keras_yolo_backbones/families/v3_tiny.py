"""YOLOv3 tiny: convs and max pools; the last pool is the only difference between its releases."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras

from keras_yolo_backbones.blocks import (
    Style,
    conv,
    halve,
    max_pool,
)


@dataclasses.dataclass(frozen=True)
class Tiny:
    """The tiny network has one size."""

    top: int = 5


STAGES = {0: 16, 1: 32, 2: 64, 3: 128, 4: 256, 5: 512}
"""Level -> channels of its one conv."""


def last_pool_darknet(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """2×2 max pool of stride 1, with −∞ beyond the bottom and right edge."""
    return max_pool(x, 2, style=style, name=name)


def last_pool_torch(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """The same with zeros beyond the edge, which win over negative features."""
    x = keras.layers.ZeroPadding2D(
        ((0, 1), (0, 1)), data_format="channels_last", name=f"{name}.pad", dtype=style.dtype
    )(x)
    return keras.layers.MaxPooling2D(2, strides=1, data_format="channels_last", name=name, dtype=style.dtype)(x)


def network(images: keras.KerasTensor, style: Style, last_pool: Callable) -> dict[str, keras.KerasTensor]:
    """One conv a level, a max pool between two levels."""
    levels, x = {}, images
    for level, channels in STAGES.items():
        if level == 1 and style.stem_stride == 1:
            x = max_pool(x, 2, style=style, name="down1.pool")
        elif level:
            x = halve(x, style=style, name=f"down{level}")
        x = levels[f"P{level}"] = conv(x, channels, 3, style=style, name=f"stage{level}")
    return levels | {"P5": last_pool(x, style=style, name="last_pool")}
