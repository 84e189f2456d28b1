"""YOLOX backbone: CSPDarknet with SPP before its last stage; the size `darknet53` is Darknet-53 with SPP.

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32.
SiLU; LeakyReLU of slope 0.1 in Darknet-53.

The stem is Focus, written here as the 6×6 conv that it is equal to. The SPP is a part of the last stage, not a block on
top of it: it stays with `spp=False`. The weights published since release 0.1.1 take BGR pixels 0 … 255; `load_weights`
folds that into the stem.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    SPPF,
    Style,
    add,
    c3,
    conv,
    separable,
)
from keras_yolo_backbones.families import yolox_darknet53
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import FOCUS, Layout
from keras_yolo_backbones.families.frame.scale import Scale
from keras_yolo_backbones.families.yolox_darknet53 import Darknet, below_backbone


@dataclasses.dataclass(frozen=True)
class Csp(Scale):
    """Scale of a CSPDarknet, and what its 3×3 convs are; in nano, all but the stem are a depthwise and a 1×1 conv."""

    spatial: Callable[..., keras.KerasTensor] = conv

    def channels(self, base: int) -> int:
        """Channels of a layer that has `base` at width 1: a multiple of the stem's, which are rounded down."""
        return int(64 * self.width) * base // 64


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES = {
    "nano": Csp(depth=0.33, width=0.25, spatial=separable),
    "tiny": Csp(depth=0.33, width=0.375),
    "s": Csp(depth=0.33, width=0.50),
    "m": Csp(depth=0.67, width=0.75),
    "l": Csp(depth=1.00, width=1.00),
    "x": Csp(depth=1.33, width=1.25),
    "darknet53": Darknet(),
}

Context = Callable[..., keras.KerasTensor]

STAGES = {2: (128, 3), 3: (256, 9), 4: (512, 9), 5: (1024, 3)}
"""Level -> (channels, units) at width and depth 1."""


def pair(x: keras.KerasTensor, channels: int, *, spatial: Callable, style: Style, name: str) -> keras.KerasTensor:
    """A 1×1 conv and a 3×3 one."""
    x = conv(x, channels, style=style, name=f"{name}.cv1")
    return spatial(x, channels, 3, style=style, name=f"{name}.cv2")


def residual(x: keras.KerasTensor, channels: int, *, spatial: Callable, style: Style, name: str) -> keras.KerasTensor:
    """`pair` around a shortcut."""
    return add(x, pair(x, channels, spatial=spatial, style=style, name=name), style=style, name=name)


def csp_darknet(images: keras.KerasTensor, scale: Csp, style: Style, context: Context) -> dict[str, keras.KerasTensor]:
    """All levels of sizes nano … x."""
    levels = {}
    x = conv(images, scale.channels(64), 6, stride=style.stem_stride, style=style, name="stem")
    for level, (base, repeats) in STAGES.items():
        channels, unit = scale.channels(base), residual
        x = scale.spatial(x, channels, 3, stride=2, style=style, name=f"down{level}")
        if level == scale.top:
            x, unit = context(x, channels, style=style, name="spp"), pair
        unit = partial(unit, spatial=scale.spatial)
        x = c3(x, channels, scale.repeats(repeats), unit=unit, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels


def network(
    images: keras.KerasTensor, spec: Csp | Darknet, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one YOLOX backbone."""
    context = SPPF[spp or True]  # inside the last stage, not on top of it: it stays
    if isinstance(spec, Darknet):
        return yolox_darknet53.network(images, style.activated("leaky_relu"), context)
    return csp_darknet(images, spec, style, context)


def layout(spec: Csp | Darknet) -> Layout:
    """Below `backbone.backbone` every stage is a list: conv of stride 2 first, then SPP and CSP."""
    return yolox_darknet53.layout() if isinstance(spec, Darknet) else _csp_layout()


def _csp_layout() -> Layout:
    prefixes = {"stem": "stem.conv", "spp": "dark5.1"}
    for level in STAGES:
        prefixes[f"down{level}"] = f"dark{level}.0"
        prefixes[f"stage{level}"] = "dark5.2" if level == 5 else f"dark{level}.1"
    names = {f"cv{i}": f"conv{i}" for i in (1, 2, 3)}
    return Layout(below_backbone(prefixes), names=names, pieces={"stem": FOCUS})


yolox = Family(
    "yolox",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.YOLOX,
        layout=layout,
        published=origins.YOLOX_NETWORKS,
        linear_spp=SIZES,
        preprocessing=origins.YOLOX_PIXELS,
    ),
    default_size="s",
    doc=__doc__,
)
