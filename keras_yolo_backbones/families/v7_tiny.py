"""YOLOv7 tiny: ELANs of two convs with max pools between, all four tensors of an ELAN concatenated."""

from __future__ import annotations

import dataclasses

import keras

from keras_yolo_backbones.blocks import (
    Style,
    concat,
    conv,
    conv_down,
    elan,
    halve,
    largest_first,
    merge,
)
from keras_yolo_backbones.families.frame.layout import Layout, numbered

STAGES = {2: (32, 64), 3: (64, 128), 4: (128, 256), 5: (256, 512)}
"""Level -> (channels of an ELAN's branches, its output channels)."""


@dataclasses.dataclass(frozen=True)
class Tiny:
    """The tiny network has one size."""

    top: int = 5


def network(images: keras.KerasTensor, style: Style, *, spp: bool) -> dict[str, keras.KerasTensor]:
    """Two strided convs, then ELANs of two convs with max pools between, all four tensors of an ELAN concatenated."""
    levels = {}
    x = conv(images, 32, 3, stride=style.stem_stride, style=style, name="stem")
    x = conv_down(x, 64, style=style, name="down2")
    for level, (hidden, channels) in STAGES.items():
        x = halve(x, style=style, name=f"down{level}") if level > 2 else x
        x = elan(x, hidden, channels, convs=2, every=1, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x
    return levels | {"P5": top(x, 256, style=style, name="spp")} if spp else levels


def top(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """SPPCSPC without its inner convs."""
    skip = conv(x, channels, style=style, name=f"{name}.a")
    deep = conv(x, channels, style=style, name=f"{name}.b")
    pooled = concat(largest_first(deep, style=style, name=name), style=style, name=f"{name}.pools")
    pooled = conv(pooled, channels, style=style, name=f"{name}.c")
    return merge([pooled, skip], channels, close="out", style=style, name=name)


def elan_modules(name: str, convs: int) -> list[str | None]:
    """The convs of an ELAN in the order of the YAML file, `None` for its concat."""
    return [f"{name}.a", f"{name}.b", *(f"{name}.c.{i}" for i in range(convs)), None, f"{name}.out"]


def layout() -> Layout:
    """The YAML file's layer numbers; convs, pools and concats are layers."""
    modules: list[str | None] = ["stem", "down2", *elan_modules("stage2", 2)]
    for level in (3, 4, 5):
        modules += [None, *elan_modules(f"stage{level}", 2)]
    modules += ["spp.a", "spp.b", None, None, None, None, "spp.c", None, "spp.out"]
    return Layout(numbered(modules, "model."))
