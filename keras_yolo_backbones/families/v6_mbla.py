"""The stages of YOLOv6 mbla: chains of several lengths that start from parts of one conv."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras

from keras_yolo_backbones.blocks import LearnedScale, Style, Unit, add, chain, merge, split_conv
from keras_yolo_backbones.families.frame.layout import Layout

UNITS = {2: 4, 3: 8, 4: 8, 5: 4}
"""Level -> blocks at depth 1."""


def bottle_rep3(x: keras.KerasTensor, channels: int, *, block: Unit, style: Style, name: str) -> keras.KerasTensor:
    """Three blocks, and x times a trained number added to them."""
    y = chain(x, channels, 3, unit=block, style=style, name=f"{name}.conv")[-1]
    return add(y, LearnedScale(name=f"{name}.alpha", dtype=style.dtype)(x), style=style, name=name)


def mbla(
    x: keras.KerasTensor, channels: int, repeats: int, *, block: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """A stage of release mbla: parts of one conv, a chain from each but the first; everything meets (MBLABlock).

    The longest chain has half of `repeats`; where it has two and more, there is a shorter one beside it.
    """
    lengths = chain_lengths(repeats)
    hidden, unit = channels // 2, partial(bottle_rep3, block=block)
    first, *starts = split_conv(x, hidden * (len(lengths) + 1), parts=len(lengths) + 1, style=style, name=f"{name}.cv1")
    links = [first]
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        links += chain(start, hidden, length, unit=unit, style=style, name=f"{name}.m.{i}")
    return merge(links, channels, close="cv2", style=style, name=name)


def chain_lengths(repeats: int) -> list[int]:
    """The lengths of the chains of an `mbla`: the largest power of two below the longest, and the longest."""
    longest = max(repeats // 2, 1)
    if longest == 1:
        return [1]
    shorter = 1
    while 2 * shorter < longest:
        shorter *= 2
    return [shorter, longest]


def layout(scale: Any) -> Layout:
    """As of release 3.0, but links are numbered, the convs in them named, and convs of a stage have no `block`."""
    prefixes = {"stem": "backbone.stem", "spp": "backbone.ERBlock_5.2.sppf"}
    for level, units in scale.units.items():
        stage = f"backbone.ERBlock_{level}.1"
        prefixes |= {f"down{level}": f"backbone.ERBlock_{level}.0", f"stage{level}": stage}
        for i, length in enumerate(chain_lengths(scale.repeats(units))):
            for j in range(length):
                link = f"m.{i}.{j}"
                prefixes |= {f"stage{level}.{link}.conv.{k}": f"{stage}.{link}.conv{k + 1}" for k in range(3)}
    for conv_name in ("cv1", "cv2"):
        prefixes[f"spp.{conv_name}"] = f"backbone.ERBlock_5.2.sppf.{conv_name}.block"
    return Layout(prefixes)
