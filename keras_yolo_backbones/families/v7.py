"""YOLOv7 backbone: ELAN stages, SPPCSPC on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32; w6, e6, d6 and e6e also P6 at 64.
SiLU; LeakyReLU of slope 0.1 in tiny.

The stem of w6, e6, d6 and e6e is ReOrg (space to depth) and a 3×3 conv. Here it is the equal 6×6 conv.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras

from keras_yolo_backbones.blocks import (
    Style,
    conv,
    conv_down,
    elan,
    pooled_down,
    sppcspc,
    two_elans,
)
from keras_yolo_backbones.families import v7_tiny
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import FOCUS, Layout, numbered
from keras_yolo_backbones.families.v7_tiny import Tiny, elan_modules


@dataclasses.dataclass(frozen=True)
class P5:
    """A network with three outputs: channels are multiplied by `width`, every ELAN has `convs` 3×3 convs."""

    width: float
    convs: int
    top: int = 5


@dataclasses.dataclass(frozen=True)
class P6:
    """A network with four outputs, also with its own kind of downsampling and stage."""

    width: float
    convs: int
    down: Callable[..., keras.KerasTensor] = pooled_down
    stage: Callable[..., keras.KerasTensor] = elan
    top: int = 6


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "tiny": Tiny(),
    "base": P5(width=1.0, convs=4),
    "x": P5(width=1.25, convs=6),
    "w6": P6(width=1.0, convs=4, down=conv_down),
    "e6": P6(width=1.25, convs=6),
    "d6": P6(width=1.5, convs=8),
    "e6e": P6(width=1.25, convs=6, stage=two_elans),
}

P5_STAGES = {2: (64, 256), 3: (128, 512), 4: (256, 1024), 5: (256, 1024)}
P6_STAGES = {2: (64, 128), 3: (128, 256), 4: (256, 512), 5: (384, 768), 6: (512, 1024)}
"""Level -> (channels of an ELAN's branches, its output channels at width 1)."""


def network(
    images: keras.KerasTensor, spec: Tiny | P5 | P6, style: Style, *, spp: bool
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv7 backbone."""
    if isinstance(spec, Tiny):
        return v7_tiny.network(images, style.activated("leaky_relu"), spp=spp)
    levels = p5(images, spec, style) if isinstance(spec, P5) else p6(images, spec, style)
    if spp:
        top = f"P{spec.top}"
        levels[top] = sppcspc(levels[top], int(512 * spec.width), style=style, name="spp")
    return levels


def p5(images: keras.KerasTensor, spec: P5, style: Style) -> dict[str, keras.KerasTensor]:
    """Sizes base and x: two convs at full and at half size, then down and ELAN."""
    levels = {}
    x = conv(images, int(32 * spec.width), 3, style=style, name="stem")
    x = conv(x, int(64 * spec.width), 3, stride=style.stem_stride, style=style, name="down1")
    x = conv(x, int(64 * spec.width), 3, style=style, name="stage1")
    x = conv_down(x, int(128 * spec.width), style=style, name="down2")
    for level, (hidden, channels) in P5_STAGES.items():
        if level > 2:
            x = pooled_down(x, x.shape[-1], hidden=x.shape[-1] // 2, style=style, name=f"down{level}")
        x = elan(x, hidden, int(channels * spec.width), convs=spec.convs, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def p6(images: keras.KerasTensor, spec: P6, style: Style) -> dict[str, keras.KerasTensor]:
    """Sizes w6, e6, d6 and e6e: five times down and ELAN."""
    levels = {}
    x = conv(images, int(64 * spec.width), 6, stride=style.stem_stride, style=style, name="stem")
    for level, (hidden, base) in P6_STAGES.items():
        channels = int(base * spec.width)
        x = spec.down(x, channels, style=style, name=f"down{level}")
        x = spec.stage(x, hidden, channels, convs=spec.convs, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def layout(spec: Tiny | P5 | P6) -> Layout:
    """The YAML file's layer numbers; convs, pools, concats and sums are layers, SPPCSPC and DownC are one each."""
    if isinstance(spec, Tiny):
        return v7_tiny.layout()
    modules: list[str | None]
    if isinstance(spec, P5):
        modules = ["stem", "down1", "stage1", "down2", *elan_modules("stage2", spec.convs)]
        for level in (3, 4, 5):
            modules += [None, f"down{level}.cv3", f"down{level}.cv1", f"down{level}.cv2", None]
            modules += elan_modules(f"stage{level}", spec.convs)
        modules += ["spp"]
    else:
        modules = [None, "stem"]
        for level in P6_STAGES:
            modules.append(f"down{level}")
            if spec.stage is two_elans:
                modules += [
                    *elan_modules(f"stage{level}.0", spec.convs),
                    *elan_modules(f"stage{level}.1", spec.convs),
                    None,
                ]
            else:
                modules += elan_modules(f"stage{level}", spec.convs)
        modules += ["spp"]
    pieces = {"stem": FOCUS} if isinstance(spec, P6) else {}
    return Layout(numbered(modules, "model."), pieces=pieces)


v7 = Family(
    "v7",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.V7,
        layout=layout,
        published=origins.V7_NETWORKS,
    ),
    default_size="tiny",
    doc=__doc__,
)
