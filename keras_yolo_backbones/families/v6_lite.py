"""YOLOv6 lite: ShuffleNet's blocks with squeeze-and-excitation, for phones. Hard swish; there is no context block."""

from __future__ import annotations

import dataclasses

import keras

from keras_yolo_backbones.blocks import (
    Style,
    concat,
    conv,
    depthwise,
    halves,
    interleaved,
    squeeze_excitation,
)
from keras_yolo_backbones.families.frame.layout import Layout


@dataclasses.dataclass(frozen=True)
class LiteSpec:
    """Channels of the stages of P2, P3, P4 and P5."""

    channels: tuple[int, int, int, int]
    top: int = 5


STYLE = Style(activation="hard_swish", epsilon=1e-3, momentum=0.97)

SIZES = {
    "s": LiteSpec((32, 48, 96, 176)),
    "m": LiteSpec((32, 64, 144, 288)),
    "l": LiteSpec((48, 96, 192, 384)),
}

STEM = 24
REPEATS = {2: 1, 3: 3, 4: 7, 5: 3}
"""Level -> blocks."""


def inverted(
    x: keras.KerasTensor,
    middle: int,
    channels: int,
    *,
    stride: int = 1,
    convs: tuple[str, str, str],
    style: Style,
    name: str,
) -> keras.KerasTensor:
    """A 1×1 conv to `middle` channels, a 3×3 depthwise one, squeeze-and-excitation, a 1×1 conv."""
    first, deep, last = (f"{name}.{part}" for part in convs)
    x = conv(x, middle, style=style, name=first)
    x = depthwise(x, 3, stride=stride, activate=False, style=style, name=deep)
    x = squeeze_excitation(x, middle // 4, style=style, name=f"{name}.se")
    return conv(x, channels, style=style, name=last)


def halving(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """Down to half the size in two branches; a depthwise and a 1×1 conv on both."""
    half = channels // 2
    skip = depthwise(x, 3, stride=2, activate=False, style=style, name=f"{name}.conv_dw_1")
    skip = conv(skip, half, style=style, name=f"{name}.conv_1")
    convs = ("conv_pw_2", "conv_dw_2", "conv_2")
    deep = inverted(x, half // 2, half, stride=2, convs=convs, style=style, name=name)
    x = depthwise(concat([skip, deep], style=style, name=name), 3, style=style, name=f"{name}.conv_dw_3")
    return conv(x, channels, style=style, name=f"{name}.conv_pw_3")


def shuffling(x: keras.KerasTensor, *, style: Style, name: str) -> keras.KerasTensor:
    """`inverted` on the upper half of the channels; then lower and upper ones by turns. The shape stays."""
    skip, deep = halves(x, style=style, name=name)
    half = deep.shape[-1]
    deep = inverted(deep, half, half, convs=("conv_pw_1", "conv_dw_1", "conv_1"), style=style, name=name)
    return interleaved(skip, deep, style=style, name=name)


def network(
    images: keras.KerasTensor, spec: LiteSpec, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv6 lite backbone."""
    del spp  # There is no context block that could be left out.
    levels = {}
    x = conv(images, STEM, 3, stride=style.stem_stride, style=style, name="stem")
    for (level, repeats), channels in zip(REPEATS.items(), spec.channels, strict=True):
        x = halving(x, channels, style=style, name=f"stage{level}.0")
        for i in range(1, repeats):
            x = shuffling(x, style=style, name=f"stage{level}.{i}")
        levels[f"P{level}"] = x
    return levels


def layout(_: LiteSpec) -> Layout:
    """`lite_effiblock_n` is level n + 1."""
    prefixes = {"stem": "backbone.conv_0.block"}
    prefixes |= {f"stage{level}": f"backbone.lite_effiblock_{level - 1}" for level in REPEATS}
    convs = ("conv_dw_1", "conv_dw_2", "conv_dw_3", "conv_pw_1", "conv_pw_2", "conv_pw_3", "conv_1", "conv_2")
    return Layout(prefixes, names={name: f"{name}.block" for name in convs})
