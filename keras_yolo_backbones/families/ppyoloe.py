"""PP-YOLOE+ backbone (CSPRepResNet): stages of re-parameterizable residuals with channel attention.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. There is no context block: `spp`
changes nothing.

It is in the form it is trained in, with two branches a block, one of them scaled by a trained number; `fuse` makes one
conv of each. Files of PP-YOLOE without plus lack these numbers; with `strict=False` they stay at 1.
"""

from __future__ import annotations

import keras

from keras_yolo_backbones.blocks import (
    LearnedScale,
    Style,
    add,
    chain,
    channel_attention,
    concat,
    conv,
    conv_down,
    rep_branches,
)
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout
from keras_yolo_backbones.families.frame.scale import PlainScale

STYLE = Style(activation="silu", epsilon=1e-5, momentum=0.9)

SIZES = {
    "s": PlainScale(depth=0.33, width=0.50),
    "m": PlainScale(depth=0.67, width=0.75),
    "l": PlainScale(depth=1.00, width=1.00),
    "x": PlainScale(depth=1.33, width=1.25),
}

STAGES = {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (1024, 3)}
"""Level -> (channels, units) at width and depth 1."""


def scaled_rep(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 conv plus a trained number times a 1×1 conv, then activated."""
    dense, point = rep_branches(x, channels, style=style, name=name)
    point = LearnedScale(name=f"{name}.alpha", dtype=style.dtype)(point)
    return style.activate(add(dense, point, style=style, name=name), name=f"{name}.act")


def residual(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """x + (a 3×3 conv, then `scaled_rep`)."""
    y = conv(x, channels, 3, style=style, name=f"{name}.conv1")
    y = scaled_rep(y, channels, style=style, name=f"{name}.conv2")
    return add(x, y, style=style, name=name)


def stage(x: keras.KerasTensor, channels: int, repeats: int, *, style: Style, name: str) -> keras.KerasTensor:
    """Down to half the size, then a C3 with channel attention on its concat; inside as wide as both on average."""
    middle = (x.shape[-1] + channels) // 2
    x = conv_down(x, middle, style=style, name=f"{name}.conv_down")
    skip = conv(x, middle // 2, style=style, name=f"{name}.conv1")
    deep = conv(x, middle // 2, style=style, name=f"{name}.conv2")
    deep = chain(deep, middle // 2, repeats, unit=residual, style=style, name=f"{name}.blocks")[-1]
    x = channel_attention(concat([skip, deep], style=style, name=name), style=style, name=f"{name}.attn")
    return conv(x, channels, style=style, name=f"{name}.conv3")


def network(
    images: keras.KerasTensor, scale: PlainScale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one PP-YOLOE+ backbone."""
    del spp  # There is no context block that could be left out.
    levels = {}
    width = scale.channels(64)
    x = conv(images, width // 2, 3, stride=style.stem_stride, style=style, name="stem.0")
    x = conv(x, width // 2, 3, style=style, name="stem.1")
    x = conv(x, width, 3, style=style, name="stem.2")
    for level, (base, repeats) in STAGES.items():
        x = stage(x, scale.channels(base), scale.repeats(repeats), style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def layout(_: PlainScale) -> Layout:
    """PaddleDetection's names: `stages.N` is level N + 2."""
    prefixes = {f"stem.{i}": f"backbone.stem.conv{i + 1}" for i in range(3)}
    prefixes |= {f"stage{level}": f"backbone.stages.{level - 2}" for level in STAGES}
    return Layout(prefixes, names={"rbr_dense": "conv1", "rbr_1x1": "conv2"})


def other_layouts(scale: PlainScale) -> list[Layout]:
    """ImageNet's files of the same project, and mmyolo's names."""
    own = layout(scale)
    bare = {ours: original.removeprefix("backbone.") for ours, original in own.prefixes.items()}
    torch = {"stem": "backbone.stem"} | {f"stage{level}": f"backbone.stage{level - 1}.0" for level in STAGES}
    return [Layout(bare, names=own.names), Layout(torch, names={"fc": "fc.conv"})]


ppyoloe = Family(
    "ppyoloe",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.PPYOLOE,
        layout=layout,
        published=origins.PPYOLOE_NETWORKS,
        other_layouts=other_layouts,
    ),
    default_size="s",
    doc=__doc__,
)
