"""YOLOv10 backbone: stages of C2f, the deeper ones with compact inverted blocks; SPPF and attention (PSA) on top.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    SPPF,
    Style,
    Unit,
    add,
    bottleneck,
    c2f,
    conv,
    conv_down,
    depthwise,
    psa,
    rep_depthwise,
)
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import Layout, paired, psa_pieces
from keras_yolo_backbones.families.frame.scale import Scale


def inverted(
    x: keras.KerasTensor, channels: int, *, middle: Unit | None = None, style: Style, name: str
) -> keras.KerasTensor:
    """x + (depthwise, 1×1 to twice the channels, depthwise, 1×1 back, depthwise), all of them activated (CIB).

    Args:
        x: (batch, height, width, channels).
        channels: those of `x`.
        middle: the middle depthwise block, a 3×3 by default.
    """
    middle = middle or partial(depthwise, kernel=3)
    y = depthwise(x, 3, style=style, name=f"{name}.cv1.0")
    y = conv(y, 2 * channels, style=style, name=f"{name}.cv1.1")
    y = middle(y, style=style, name=f"{name}.cv1.2")
    y = conv(y, channels, style=style, name=f"{name}.cv1.3")
    y = depthwise(y, 3, style=style, name=f"{name}.cv1.4")
    return add(x, y, style=style, name=name)


LARGE_KERNEL = partial(inverted, middle=rep_depthwise)


@dataclasses.dataclass(frozen=True)
class V10Scale(Scale):
    """A scale, and the links of its two upper C2f stages; those of P2 and P3 are always bottlenecks."""

    links4: Unit = bottleneck
    links5: Unit = bottleneck

    def links(self, level: int) -> Unit:
        """The links of a level's stage."""
        return {4: self.links4, 5: self.links5}.get(level, bottleneck)


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "n": V10Scale(depth=0.33, width=0.25, max_channels=1024),
    "s": V10Scale(depth=0.33, width=0.50, max_channels=1024, links5=LARGE_KERNEL),
    "m": V10Scale(depth=0.67, width=0.75, max_channels=768, links5=inverted),
    "b": V10Scale(depth=0.67, width=1.00, max_channels=512, links5=inverted),
    "l": V10Scale(depth=1.00, width=1.00, max_channels=512, links5=inverted),
    "x": V10Scale(depth=1.00, width=1.25, max_channels=512, links4=inverted, links5=inverted),
}

STAGES = {2: (128, 3), 3: (256, 6), 4: (512, 6), 5: (1024, 3)}
"""Level -> (channels, units) at width and depth 1."""


def network(
    images: keras.KerasTensor, scale: V10Scale, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOv10 backbone."""
    levels = {}
    x = conv(images, scale.channels(64), 3, stride=style.stem_stride, style=style, name="stem")
    for level, (base, repeats) in STAGES.items():
        channels = scale.channels(base)
        down = conv_down if level < 4 else separated
        x = down(x, channels, style=style, name=f"down{level}")
        x = c2f(x, channels, scale.repeats(repeats), unit=scale.links(level), style=style, name=f"stage{level}")
        if spp and level == scale.top:
            x = SPPF[spp](x, channels, style=style, name="spp")
            x = psa(x, style=style, name="psa")
        levels[f"P{level}"] = x
    return levels


def separated(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 1×1 conv for the channels, then a depthwise 3×3 of stride 2 without activation for the size (SCDown)."""
    x = conv(x, channels, style=style, name=f"{name}.cv1")
    return depthwise(x, 3, stride=2, activate=False, style=style, name=f"{name}.cv2")


def layout(scale: V10Scale) -> Layout:
    """Ultralytics numbers the layers of its YAML file; PSA's single attention unit has no path of its own."""
    prefixes = paired(scale.top, "spp", "psa")
    return Layout(prefixes | {"psa.m.0": prefixes["psa"]}, pieces=psa_pieces(scale.channels(1024) // 2))


v10 = Family(
    "v10",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.V10,
        layout=layout,
        published=origins.V10_NETWORKS,
        linear_spp=SIZES,
    ),
    default_size="s",
    doc=__doc__,
)
