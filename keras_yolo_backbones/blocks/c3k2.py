"""The stages that YOLO11, YOLO12, YOLO13 and YOLO26 share: C2f with links of its own kind."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import keras

from keras_yolo_backbones.blocks.conv import conv, grouped_conv, split_conv
from keras_yolo_backbones.blocks.csp import Unit, bottleneck, c2f, c2f_links, c3, concat, merge
from keras_yolo_backbones.blocks.style import Style

SLIM = partial(bottleneck, expansion=0.5)
C3K = partial(c3, repeats=2, unit=bottleneck)
"""The two kinds of links: a bottleneck that halves its channels between the convs, and a small C3."""


class C3k2Stage(NamedTuple):
    """One level of `c3k2_trunk`.

    Attributes:
        down: channels of the stride-2 conv.
        channels: of the stage.
        hidden: channels of each of the stage's halves.
        repeats: its links.
        unit: what a link is.
    """

    down: int
    channels: int
    hidden: int
    repeats: int
    unit: Unit


def c3k2_trunk(
    images: keras.KerasTensor, stem: int, stages: Mapping[int, C3k2Stage], *, style: Style
) -> dict[str, keras.KerasTensor]:
    """A stride-2 conv, then a stride-2 conv and a stage of C3k2 for every level.

    Args:
        images: (batch, height, width, channels).
        stem: filters of the first conv.
        stages: level -> its stage.

    Returns:
        Level name -> (batch, height / 2ⁿ, width / 2ⁿ, channels).
    """
    levels = {}
    x = conv(images, stem, 3, stride=style.stem_stride, style=style, name="stem")
    for level, (down, channels, hidden, repeats, unit) in stages.items():
        x = conv(x, down, 3, stride=2, style=style, name=f"down{level}")
        x = c2f(x, channels, repeats, hidden=hidden, unit=unit, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def grouped_trunk(
    images: keras.KerasTensor, stem: int, stages: Mapping[int, C3k2Stage], *, style: Style
) -> dict[str, keras.KerasTensor]:
    """`c3k2_trunk` with the second conv in two groups and the third in four; their inputs come as that many parts."""
    levels = {}
    parts = split_conv(images, stem, 3, stride=style.stem_stride, style=style, name="stem")
    for level, (down, channels, hidden, repeats, unit) in stages.items():
        name = f"stage{level}"
        parts = grouped_conv(parts, down, 3, stride=2, style=style, name=f"down{level}")
        x = concat(parts, style=style, name=f"down{level}")
        links = c2f_links(x, hidden, repeats, unit=unit, style=style, name=name)
        if level == max(stages):
            levels[f"P{level}"] = merge(links, channels, close="cv2", style=style, name=name)
        else:
            parts = split_conv(
                concat(links, style=style, name=name), channels, parts=4, style=style, name=f"{name}.cv2"
            )
            levels[f"P{level}"] = concat(parts, style=style, name=f"{name}.cv2")
    return levels
