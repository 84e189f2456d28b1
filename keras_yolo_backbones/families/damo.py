"""DAMO-YOLO backbone (TinyNAS) in three forms: residuals (t, s), cross-stage (m, l), inverted bottlenecks (n…).

Input: RGB in [0, 1], (batch, height, width, 3). Levels: P2 … P5 at strides 4 … 32. Every size has a table of its own.
The SPP comes after the first block of the last group: `spp=False` leaves it out and keeps the blocks after it.

The stem of all but ns, nm and nl is Focus, written here as the 6×6 conv that it is equal to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import keras

from keras_yolo_backbones.blocks import Style, add, conv, rep_sum, sppf
from keras_yolo_backbones.families import damo_csp
from keras_yolo_backbones.families.damo_csp import Csp, unit_prefixes
from keras_yolo_backbones.families.damo_mob import MODULES, RATIOS, mob_block
from keras_yolo_backbones.families.frame import origins
from keras_yolo_backbones.families.frame.family import Family, Release
from keras_yolo_backbones.families.frame.layout import FOCUS, Layout


def res_block(
    x: keras.KerasTensor, channels: int, middle: float, *, stride: int, style: Style, name: str
) -> keras.KerasTensor:
    """A 1×1 conv to `middle` channels and `rep_sum`; where the size stays, x is added; then activated."""
    y = conv(x, int(middle), style=style, name=f"{name}.conv1")
    y = rep_sum(y, channels, stride=stride, style=style, name=f"{name}.conv2")
    y = add(y, x, style=style, name=name) if stride == 1 else y
    return style.activate(y, name=f"{name}.act")


@dataclasses.dataclass(frozen=True)
class Groups:
    """The forms of five groups of blocks.

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


def _mob(stem: int, *rows: tuple[int, int, int], kernel: int = 3) -> Groups:
    groups = tuple((channels, ratio, count, s) for (channels, count, s), ratio in zip(rows, RATIOS, strict=True))
    return Groups(stem, mob_block, groups, kernel=kernel)


STYLE = Style(activation="silu", epsilon=1e-3, momentum=0.97)

SIZES: dict[str, Groups | Csp] = {
    "t": Groups(
        24, res_block, ((64, 24, 2, 2), (96, 64, 2, 2), (192, 96, 2, 2), (192, 152, 2, 1), (384, 192, 1, 2)), "relu"
    ),
    "s": Groups(
        32, res_block, ((128, 24, 1, 2), (128, 88, 5, 2), (256, 128, 3, 2), (256, 120, 2, 1), (512, 144, 1, 2)), "relu"
    ),
    **damo_csp.SIZES,
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
    if isinstance(spec, Csp):
        return damo_csp.network(images, spec, style, spp=spp)
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


def layout(spec: Groups | Csp) -> Layout:
    """Lists of groups and of blocks; the SPP is the second entry of the last group."""
    if isinstance(spec, Csp):
        return damo_csp.layout(spec)
    last, stem, focus = len(spec.groups), "backbone.block_list.0.conv", spec.kernel == 6
    prefixes = {"stem": stem} if focus else unit_prefixes("stem", stem)
    prefixes["spp"] = f"backbone.block_list.{last}.block_list.1"
    for group, (_, _, count, _) in enumerate(spec.groups, start=1):
        for i in range(count):
            ours = f"group{group}.{i}"
            original = f"backbone.block_list.{group}.block_list.{i + (group == last and i > 0)}"
            if spec.block is res_block:
                prefixes |= unit_prefixes(f"{ours}.conv1", f"{original}.conv1")
                prefixes[f"{ours}.conv2"] = f"{original}.conv2"
                continue
            for module, at in MODULES.items():
                prefixes[f"{ours}.{module}.conv"] = f"{original}.conv.{at}"
                prefixes[f"{ours}.{module}.bn"] = f"{original}.conv.{at + 1}"
    return Layout(prefixes, names=damo_csp.NAMES, pieces={"stem": FOCUS} if focus else {})


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
