"""DAMO-YOLO m and l, the cross-stage form: a 1×1 conv beside a chain of blocks in each stage.

SiLU inside the chains, the SPP and the stem, ReLU around the chains.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import keras

from keras_yolo_backbones.blocks import Style, add, chain, conv, conv_down, merge, rep_sum, sppf
from keras_yolo_backbones.families.frame.layout import FOCUS, Layout


@dataclasses.dataclass(frozen=True)
class Csp:
    """One size; `stages`: level -> (channels, middle channels of a block, blocks)."""

    stem: int
    stages: dict[int, tuple[int, int, int]]
    top: int = 5


SIZES = {
    "m": Csp(32, {2: (128, 64, 1), 3: (128, 64, 3), 4: (256, 256, 7), 5: (512, 256, 2)}),
    "l": Csp(32, {2: (128, 96, 2), 3: (128, 96, 4), 4: (256, 384, 9), 5: (512, 384, 3)}),
}

NAMES = {"cv1": "conv1", "cv2": "conv2"}
"""Convs of the SPP, ours and the original's."""


def csp_block(x: keras.KerasTensor, channels: int, *, middle: int, style: Style, name: str) -> keras.KerasTensor:
    """x + (a 3×3 conv to `middle` channels, `rep_sum`), then activated."""
    y = conv(x, middle, 3, style=style, name=f"{name}.conv1")
    y = add(rep_sum(y, channels, style=style, name=f"{name}.conv2"), x, style=style, name=name)
    return style.activate(y, name=f"{name}.act")


def network(images: keras.KerasTensor, spec: Csp, style: Style, *, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """All levels of sizes m and l."""
    levels = {}
    inner, outer = style.activated("silu"), style.activated("relu")
    x = conv(images, spec.stem, 6, stride=style.stem_stride, style=inner, name="stem")
    for level, (channels, middle, repeats) in spec.stages.items():
        name = f"stage{level}"
        x = conv_down(x, channels, style=outer, name=f"{name}.downsampler")
        if spp and level == spec.top:
            x = sppf(x, channels, style=inner, name="spp")
        skip = conv(x, channels // 2, style=outer, name=f"{name}.conv_shortcut")
        deep = conv(x, channels // 2, style=outer, name=f"{name}.conv_start")

        unit = partial(csp_block, middle=middle)
        deep = chain(deep, channels // 2, repeats, unit=unit, style=inner, name=f"{name}.convstem")[-1]
        x = merge([deep, skip], channels, close="conv_fuse", style=outer, name=name)
        levels[f"P{level}"] = x
    return levels


def layout(spec: Csp) -> Layout:
    """`csp_stage.n` is level n + 1."""
    prefixes = {"stem": "backbone.csp_stage.0.conv", "spp": "backbone.csp_stage.4.spp"}
    for level, (_, _, repeats) in spec.stages.items():
        ours, original = f"stage{level}", f"backbone.csp_stage.{level - 1}"
        for module in ("downsampler", "conv_start", "conv_shortcut", "conv_fuse"):
            prefixes |= unit_prefixes(f"{ours}.{module}", f"{original}.{module}.conv")
        for i in range(repeats):
            block = f"convstem.{i}"
            prefixes |= unit_prefixes(f"{ours}.{block}.conv1", f"{original}.{block}.conv1")
            prefixes[f"{ours}.{block}.conv2"] = f"{original}.{block}.conv2"
    return Layout(prefixes, names=NAMES, pieces={"stem": FOCUS})


def unit_prefixes(ours: str, original: str) -> dict[str, str]:
    """A conv and its batch norm, which are called `conv1` and `bn1` in all forms of DAMO-YOLO."""
    return {f"{ours}.conv": f"{original}.conv1", f"{ours}.bn": f"{original}.bn1"}
