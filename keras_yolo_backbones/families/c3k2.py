"""What YOLO11, YOLO12 and YOLO26 share: their scales, and stages of C3k2 (C2f on other links)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial

import keras

from keras_yolo_backbones.blocks import Style, Unit, bottleneck, c2f, c3, conv
from keras_yolo_backbones.families.scale import Scale

SLIM = partial(bottleneck, expansion=0.5)
C3K = partial(c3, repeats=2, unit=bottleneck)
"""The two kinds of links: a bottleneck that halves its channels between the convs, and a small C3."""


@dataclasses.dataclass(frozen=True)
class C3k2Scale(Scale):
    """A scale, and the links of P2 and P3; those of the levels above are always `C3K`."""

    early: Unit = C3K

    def links(self, level: int) -> Unit:
        """The links of a level's stage."""
        return self.early if level <= 3 else C3K


SIZES = {
    "n": C3k2Scale(depth=0.50, width=0.25, max_channels=1024, early=SLIM),
    "s": C3k2Scale(depth=0.50, width=0.50, max_channels=1024, early=SLIM),
    "m": C3k2Scale(depth=0.50, width=1.00, max_channels=512),
    "l": C3k2Scale(depth=1.00, width=1.00, max_channels=512),
    "x": C3k2Scale(depth=1.00, width=1.50, max_channels=512),
}

UNITS = 2
"""Links of every stage at depth 1."""


def trunk(
    images: keras.KerasTensor, scale: C3k2Scale, stages: Mapping[int, tuple[int, int, float]], *, style: Style
) -> dict[str, keras.KerasTensor]:
    """A stride-2 conv, then for every level another and a stage of C3k2.

    Args:
        images: (batch, height, width, 3).
        scale: of the network.
        stages: level -> (channels of the conv, channels of the stage, share of them in each of its halves), at width 1.

    Returns:
        Level name -> (batch, height / 2ⁿ, width / 2ⁿ, channels).
    """
    levels = {}
    x = conv(images, scale.channels(64), 3, stride=2, style=style, name="stem")
    for level, (narrow, base, share) in stages.items():
        channels = scale.channels(base)
        x = conv(x, scale.channels(narrow), 3, stride=2, style=style, name=f"down{level}")
        x = c2f(
            x,
            channels,
            scale.repeats(UNITS),
            hidden=int(channels * share),
            unit=scale.links(level),
            style=style,
            name=f"stage{level}",
        )
        levels[f"P{level}"] = x
    return levels
