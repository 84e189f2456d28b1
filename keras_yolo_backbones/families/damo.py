"""DAMO-YOLO backbone (TinyNAS) in three forms: residuals (t, s), cross-stage (m, l), inverted bottlenecks (n…).

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. Every size has a table of its own.
The SPP comes after the first block of the last group: `spp=False` leaves it out and keeps the blocks after it.

The stem of all but ns, nm and nl is Focus, written here as the 6×6 conv that it is equal to.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    Style,
    add,
    chain,
    conv,
    conv_down,
    depthwise,
    merge,
    rep_branches,
    sppf,
)
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import FOCUS, Layout


def rep(x: keras.KerasTensor, channels: int, *, stride: int = 1, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 and a 1×1 conv, summed, without activation."""
    return add(*rep_branches(x, channels, stride=stride, style=style, name=name), style=style, name=name)


def res_block(
    x: keras.KerasTensor, channels: int, middle: float, *, stride: int, style: Style, name: str
) -> keras.KerasTensor:
    """A 1×1 conv to `middle` channels and `rep`; where the size stays, x is added; then activated."""
    y = conv(x, int(middle), style=style, name=f"{name}.conv1")
    y = rep(y, channels, stride=stride, style=style, name=f"{name}.conv2")
    y = add(y, x, style=style, name=name) if stride == 1 else y
    return style.activate(y, name=f"{name}.act")


def mob_block(
    x: keras.KerasTensor, channels: int, ratio: float, *, stride: int, style: Style, name: str
) -> keras.KerasTensor:
    """A 1×1 conv to `ratio` times `channels`, a 5×5 depthwise one, a 1×1 one; x is added where the shape stays."""
    y = conv(x, _nearest_8(math.ceil(channels * ratio)), style=style, name=f"{name}.expand")
    y = depthwise(y, 5, stride=stride, style=style, name=f"{name}.spatial")
    y = conv(y, channels, activate=False, style=style, name=f"{name}.project")
    return add(x, y, style=style, name=name) if stride == 1 and x.shape[-1] == channels else y


def _nearest_8(value: int) -> int:
    """The nearest multiple of 8 that is at least 90 % of `value`."""
    nearest = max(8, (value + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * value else nearest


def csp_block(x: keras.KerasTensor, channels: int, *, middle: int, style: Style, name: str) -> keras.KerasTensor:
    """x + (a 3×3 conv to `middle` channels, `rep`), then activated."""
    y = conv(x, middle, 3, style=style, name=f"{name}.conv1")
    y = add(rep(y, channels, style=style, name=f"{name}.conv2"), x, style=style, name=name)
    return style.activate(y, name=f"{name}.act")


@dataclasses.dataclass(frozen=True)
class Groups:
    """Forms of five groups of blocks.

    Attributes:
        stem: channels of the first conv.
        block: of all groups.
        groups: (channels, the block's own number, blocks, stride of the first).
        activation: of the original, outside the SPP.
        kernel: side of the first conv; 6 is a Focus.
    """

    stem: int
    block: Callable[..., keras.KerasTensor]
    groups: tuple[tuple[int, float, int, int], ...]
    activation: str = "silu"
    kernel: int = 6
    top: int = 5


@dataclasses.dataclass(frozen=True)
class Csp:
    """The cross-stage form; `stages`: level -> (channels, middle channels of a block, blocks)."""

    stem: int
    stages: dict[int, tuple[int, int, int]]
    top: int = 5


def _mob(stem: int, *rows: tuple[int, int, int], kernel: int = 3) -> Groups:
    ratios = (3.5, 4.0, 4.5, 5.0, 5.5)
    groups = tuple((channels, ratio, count, s) for (channels, count, s), ratio in zip(rows, ratios, strict=True))
    return Groups(stem, mob_block, groups, kernel=kernel)


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES: dict[str, Groups | Csp] = {
    "t": Groups(
        24, res_block, ((64, 24, 2, 2), (96, 64, 2, 2), (192, 96, 2, 2), (192, 152, 2, 1), (384, 192, 1, 2)), "relu"
    ),
    "s": Groups(
        32, res_block, ((128, 24, 1, 2), (128, 88, 5, 2), (256, 128, 3, 2), (256, 120, 2, 1), (512, 144, 1, 2)), "relu"
    ),
    "m": Csp(32, {2: (128, 64, 1), 3: (128, 64, 3), 4: (256, 256, 7), 5: (512, 256, 2)}),
    "l": Csp(32, {2: (128, 96, 2), 3: (128, 96, 4), 4: (256, 384, 9), 5: (512, 384, 3)}),
    "ns": _mob(16, (24, 1, 2), (40, 2, 2), (64, 2, 2), (80, 2, 1), (160, 2, 2)),
    "nm": _mob(16, (40, 2, 2), (64, 2, 2), (112, 2, 2), (128, 2, 1), (256, 1, 2)),
    "nl": _mob(24, (48, 1, 2), (80, 2, 2), (160, 2, 2), (160, 3, 1), (320, 2, 2)),
    "n": _mob(16, (40, 2, 2), (80, 2, 2), (112, 2, 2), (112, 2, 1), (160, 1, 2), kernel=6),
}

LEVELS = {1: "P2", 2: "P3", 4: "P4", 5: "P5"}
"""Group -> the level that it ends; the third has the size of P4, and the fourth goes on from it."""


def network(
    images: keras.KerasTensor, spec: Groups | Csp, style: Style, *, spp: bool | str
) -> dict[str, keras.KerasTensor]:
    """All levels of one DAMO-YOLO backbone."""
    return grouped(images, spec, style, spp) if isinstance(spec, Groups) else crossed(images, spec, style, spp)


def grouped(images: keras.KerasTensor, spec: Groups, style: Style, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """All sizes but m and l."""
    levels = {}
    inner, context = style.activated(spec.activation), style.activated("silu")
    x = conv(images, spec.stem, spec.kernel, stride=style.stem_stride, style=inner, name="stem")
    for group, (channels, own, count, stride) in enumerate(spec.groups, start=1):
        for i in range(count):
            x = spec.block(x, channels, own, stride=1 if i else stride, style=inner, name=f"group{group}.{i}")
            if spp and group == len(spec.groups) and i == 0:
                x = sppf(x, channels, style=context, name="spp")
        if group in LEVELS:
            levels[LEVELS[group]] = x
    return levels


def crossed(images: keras.KerasTensor, spec: Csp, style: Style, spp: bool | str) -> dict[str, keras.KerasTensor]:
    """Sizes m and l: SiLU inside the chains, the SPP and the stem, ReLU around the chains."""
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


def layout(spec: Groups | Csp) -> Layout:
    """Lists of groups and of blocks; a conv and its batch norm have names that differ from form to form."""
    stem = "backbone.csp_stage.0.conv" if isinstance(spec, Csp) else "backbone.block_list.0.conv"
    focus = isinstance(spec, Csp) or spec.kernel == 6
    prefixes = {"stem": stem} if focus else _unit("stem", stem)
    prefixes |= _csp_prefixes(spec) if isinstance(spec, Csp) else _group_prefixes(spec)
    return Layout(prefixes, names={"cv1": "conv1", "cv2": "conv2"}, pieces={"stem": FOCUS} if focus else {})


def _group_prefixes(spec: Groups) -> dict[str, str]:
    last = len(spec.groups)
    prefixes = {"spp": f"backbone.block_list.{last}.block_list.1"}
    for group, (_, _, count, _) in enumerate(spec.groups, start=1):
        for i in range(count):
            ours = f"group{group}.{i}"
            original = f"backbone.block_list.{group}.block_list.{i + (group == last and i > 0)}"
            if spec.block is res_block:
                prefixes |= _unit(f"{ours}.conv1", f"{original}.conv1") | {f"{ours}.conv2": f"{original}.conv2"}
            else:
                for module, at in {"expand": 0, "spatial": 3, "project": 7}.items():
                    prefixes[f"{ours}.{module}.conv"] = f"{original}.conv.{at}"
                    prefixes[f"{ours}.{module}.bn"] = f"{original}.conv.{at + 1}"
    return prefixes


def _csp_prefixes(spec: Csp) -> dict[str, str]:
    prefixes = {"spp": "backbone.csp_stage.4.spp"}
    for level, (_, _, repeats) in spec.stages.items():
        ours, original = f"stage{level}", f"backbone.csp_stage.{level - 1}"
        for module in ("downsampler", "conv_start", "conv_shortcut", "conv_fuse"):
            prefixes |= _unit(f"{ours}.{module}", f"{original}.{module}.conv")
        for i in range(repeats):
            block = f"convstem.{i}"
            prefixes |= _unit(f"{ours}.{block}.conv1", f"{original}.{block}.conv1")
            prefixes[f"{ours}.{block}.conv2"] = f"{original}.{block}.conv2"
    return prefixes


def _unit(ours: str, original: str) -> dict[str, str]:
    return {f"{ours}.conv": f"{original}.conv1", f"{ours}.bn": f"{original}.bn1"}


damo = Family(
    "damo",
    Release(
        network=network,
        sizes=SIZES,
        style=STYLE,
        origin=origins.DAMO,
        layout=layout,
        published=origins.DAMO_NETWORKS,
        preprocessing=origins.DAMO_PIXELS,
    ),
    default_size="t",
    doc=__doc__,
)
