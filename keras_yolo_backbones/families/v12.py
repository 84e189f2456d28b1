"""YOLO12 backbone: stages of C3k2, the two upper ones of area attention (A2C2f); nothing is on top of them.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. There is no context block: `spp`
changes nothing. On P4 every cell attends to a quarter of the map, so that height / 16 · width / 16 must be divisible
by 4, as it is for every multiple of 32.

Release turbo groups two of the first convs, and has smaller depthwise kernels and wider feed-forwards in l and x.
Release cls is the classifiers': as 1.0, with a batch norm epsilon of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    AREA_HEAD,
    Style,
    a2c2f,
    c3k2_trunk,
    conv_down,
    grouped_trunk,
    scaled_a2c2f,
)
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.c3k2 import SIZES as SIZES_11
from keras_yolo_backbones.families.frame.c3k2 import C3k2Scale
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, half, paired, per_head


@dataclasses.dataclass(frozen=True)
class V12Scale(C3k2Scale):
    """A scale, and the stages of P4 and P5."""

    stage: Callable[..., keras.KerasTensor] = a2c2f


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)


def _sizes(ratio: float) -> dict[str, V12Scale]:
    """The size table of a release; `ratio` is the width of the feed-forwards in l and x."""
    stages = {"l": partial(scaled_a2c2f, ratio=ratio), "x": partial(scaled_a2c2f, ratio=ratio)}
    return {size: V12Scale(**vars(scale), stage=stages.get(size, a2c2f)) for size, scale in SIZES_11.items()}


CLS_STYLE = Style(activation="silu", epsilon=1e-5, momentum=0.9)

SIZES, SIZES_TURBO = _sizes(1.2), _sizes(1.5)

STAGES = {2: (128, 256, 0.25), 3: (256, 512, 0.25)}
"""Level -> (channels of the conv, channels of the stage, share of them in each of its halves), at width 1."""

AREA_STAGES = {4: (512, 4), 5: (1024, 1)}
"""Level -> (channels at width 1, areas)."""

UNITS = 4
"""Pairs of attention units of a stage at depth 1."""


def network(
    images: keras.KerasTensor,
    scale: V12Scale,
    style: Style,
    *,
    lower: Callable[..., dict[str, keras.KerasTensor]],
    position: int,
    down: Callable[..., keras.KerasTensor] = conv_down,
    spp: bool | str,
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLO12 backbone.

    Args:
        lower: builds P2 and P3.
        down: halves a map before each of the two upper stages.
        position: kernel side of the depthwise convs beside the attention.
    """
    del spp  # There is no context block that could be left away.
    levels = lower(images, scale.channels(64), scale.stages(STAGES), style=style)
    x = levels["P3"]
    for level, (base, areas) in AREA_STAGES.items():
        channels, repeats = scale.channels(base), scale.repeats(UNITS)
        x = down(x, channels, style=style, name=f"down{level}")
        x = scale.stage(x, channels, repeats, areas=areas, position=position, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def layout(_: V12Scale) -> Layout:
    """The layer numbers of the YAML file; one conv holds q, k and v, head by head."""
    parts = {part: slice(i * AREA_HEAD, (i + 1) * AREA_HEAD) for i, part in enumerate("qkv")}
    pieces = {f"attn.{part}": per_head("attn.qkv", 3 * AREA_HEAD, rows) for part, rows in parts.items()}
    return Layout(paired(5), pieces=pieces)


def layout_turbo(_: V12Scale) -> Layout:
    """As release 1.0, but one conv holds q of all heads, then k of all heads; v has its own."""
    return Layout(paired(5), pieces={"attn.q": half("attn.qk", 0), "attn.k": half("attn.qk", 1)})


v12 = Family(
    "v12",
    {
        "1.0": Release(
            network=partial(network, lower=c3k2_trunk, position=7),
            sizes=SIZES,
            style=STYLE,
            origin=origins.V12,
            layout=layout,
            published=origins.V12_NETWORKS,
        ),
        "turbo": Release(
            network=partial(network, lower=grouped_trunk, position=5),
            sizes=SIZES_TURBO,
            style=STYLE,
            origin=origins.V12_TURBO,
            layout=layout_turbo,
            published=origins.V12_TURBO_NETWORKS,
        ),
        "cls": Release(
            network=partial(network, lower=c3k2_trunk, position=7),
            sizes=SIZES,
            style=CLS_STYLE,
            origin=origins.V12,
            layout=layout,
            published=origins.V12_CLS_NETWORKS,
        ),
    },
    default_size="s",
    doc=__doc__,
)
