"""YOLOv4 tiny: one-shot aggregations of two small convs."""

from __future__ import annotations

import dataclasses

import keras

from keras_yolo_backbones.blocks import (
    Style,
    concat,
    conv,
    conv_down,
    halve,
    split_conv,
)
from keras_yolo_backbones.families.frame.layout import Layout, numbered


@dataclasses.dataclass(frozen=True)
class Tiny:
    """The tiny network has one size."""

    top: int = 5


def network(images: keras.KerasTensor, style: Style) -> dict[str, keras.KerasTensor]:
    """Two strided convs, three blocks with max pools between, one conv."""
    levels = {}
    x = conv(images, 32, 3, stride=style.stem_stride, style=style, name="stem")
    x = conv_down(x, 64, style=style, name="down2")
    for level, channels in {2: 64, 3: 128, 4: 256}.items():
        x, inner = block(x, channels, style=style, name=f"stage{level}")
        levels[f"P{level}"] = x if level < 4 else inner
        x = halve(x, style=style, name=f"down{level + 1}")
    return levels | {"P5": conv(x, 512, 3, style=style, name="stage5")}


def block(
    x: keras.KerasTensor, channels: int, *, style: Style, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Four convs, the two in the middle on half the channels; returns the concat of first and last, and the last."""
    first, second = split_conv(x, channels, 3, style=style, name=f"{name}.cv1")
    a = conv(second, channels // 2, 3, style=style, name=f"{name}.cv2")
    b = conv(a, channels // 2, 3, style=style, name=f"{name}.cv3")
    inner = conv(concat([b, a], style=style, name=f"{name}.inner"), channels, style=style, name=f"{name}.cv4")
    return concat([first, second, inner], style=style, name=name), inner


def layout() -> Layout:
    """The cfg's layer numbers; pools and routes count."""
    modules: list[str | None] = ["stem", "down2"]
    for s in ("stage2", "stage3", "stage4"):
        modules += [f"{s}.cv1", None, f"{s}.cv2", f"{s}.cv3", None, f"{s}.cv4", None, None]
    return Layout(numbered([*modules, "stage5"]))
