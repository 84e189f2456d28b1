"""Sizes c and e of YOLOv9: GELAN stages that end in two halves; e runs over the image twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    Style,
    concat,
    conv,
    conv_down,
    gelan,
    mixed_down,
    rep_csp,
    split_conv,
)


@dataclasses.dataclass(frozen=True)
class Heavy:
    """Sizes c and e, which halve by `mixed_down`.

    Attributes:
        stages: level -> (channels of a GELAN's halves together, its output channels).
        repeats: units in each link.
        run: the network: one pass or two.
    """

    stages: Mapping[int, tuple[int, int]]
    repeats: int
    run: Callable[..., dict[str, keras.KerasTensor]]
    top: int = 5


LINKS = {1: 64, 2: 128, 3: 256, 4: 512, 5: 1024}
"""Level of size e's second pass -> channels of the convs from the first pass that are added to it."""


def once(
    images: keras.KerasTensor,
    spec: Heavy,
    style: Style,
    *,
    join: Callable[[keras.KerasTensor, int], keras.KerasTensor] = lambda x, _: x,
    name: str = "",
) -> dict[str, keras.KerasTensor]:
    """Size c, and each pass of size e; `join` gets what comes out of every halving, with its level."""
    levels = {}
    x = conv(images, 64, 3, stride=style.stem_stride, style=style, name=f"{name}stem")
    x = levels["P1"] = join(x, 1)
    x = conv_down(x, 128, style=style, name=f"{name}down2")
    for level, (hidden, channels) in spec.stages.items():
        stage, link = f"{name}stage{level}", partial(rep_csp, repeats=spec.repeats)
        x = gelan(join(x, level), hidden, link=link, style=style, name=stage)
        halves = split_conv(x, channels, style=style, name=f"{stage}.cv4")
        levels[f"P{level}"] = concat(halves, style=style, name=f"{stage}.halves")
        if level < spec.top:
            x = mixed_down(halves, style=style, name=f"{name}down{level + 1}")
    return levels


def twice(images: keras.KerasTensor, spec: Heavy, style: Style) -> dict[str, keras.KerasTensor]:
    """Size e: each level of a first pass is added, through 1×1 convs, to that and all larger maps of a second."""
    first = once(images, spec, style, name="pre.")

    def join(x: keras.KerasTensor, level: int) -> keras.KerasTensor:
        links = [link(first[f"P{source}"], source, level, style=style) for source in range(level, spec.top + 1)]
        return keras.layers.Add(name=f"join{level}.add", dtype=style.dtype)([*links, x])

    return once(images, spec, style, join=join)


def link(x: keras.KerasTensor, source: int, level: int, *, style: Style) -> keras.KerasTensor:
    """A 1×1 conv with bias from level `source` of the first pass, enlarged to `level` (CBLinear and CBFuse)."""
    start = sum(LINKS[lower] for lower in range(1, level))
    name = f"link{source}.at{start}"
    x = keras.layers.Conv2D(LINKS[level], 1, data_format="channels_last", name=f"{name}.conv", dtype=style.dtype)(x)
    if source == level:
        return x
    factor = 2 ** (source - level)
    return keras.layers.UpSampling2D(factor, data_format="channels_last", name=f"{name}.up", dtype=style.dtype)(x)
