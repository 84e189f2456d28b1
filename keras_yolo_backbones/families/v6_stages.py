"""The parts of YOLOv6: plain chains of blocks (EfficientRep), C3 of them (CSPBepBackbone), and the block on top."""

from __future__ import annotations

from functools import partial

import keras

from keras_yolo_backbones.blocks import (
    LearnedScale,
    Style,
    Unit,
    add,
    c3,
    chain,
    conv,
    merge,
    pooled_branch,
)


def plain(x: keras.KerasTensor, channels: int, *, stride: int = 1, style: Style, name: str) -> keras.KerasTensor:
    """A 3×3 conv unit: what sizes l and l6 have where the others have RepVGG."""
    return conv(x, channels, 3, stride=stride, style=style, name=f"{name}.block")


def bottle_rep(x: keras.KerasTensor, channels: int, *, block: Unit, style: Style, name: str) -> keras.KerasTensor:
    """Two blocks, and x times a trained number added to them."""
    y = block(x, channels, style=style, name=f"{name}.conv1")
    y = block(y, channels, style=style, name=f"{name}.conv2")
    return add(y, LearnedScale(name=f"{name}.alpha", dtype=style.dtype)(x), style=style, name=name)


def blocks(
    x: keras.KerasTensor, channels: int, repeats: int, *, block: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """A stage of EfficientRep: nothing but blocks."""
    return chain(x, channels, repeats, unit=block, style=style, name=name)[-1]


def bep_c3(
    x: keras.KerasTensor, channels: int, repeats: int, *, share: float, block: Unit, style: Style, name: str
) -> keras.KerasTensor:
    """A stage of CSPBepBackbone: C3 of `bottle_rep`, each branch with `share` of the channels."""
    unit = partial(bottle_rep, block=block)
    return c3(x, channels, repeats // 2, hidden=int(channels * share), unit=unit, style=style, name=name)


def csp_sppf(x: keras.KerasTensor, channels: int, *, style: Style, name: str) -> keras.KerasTensor:
    """A 1×1 conv beside the pooled branch; they meet, the former first (SimCSPSPPF)."""
    skip = conv(x, channels // 2, style=style, name=f"{name}.cv2")
    deep = pooled_branch(x, channels // 2, style=style, name=name)
    return merge([skip, deep], channels, close="cv7", style=style, name=name)
