"""The network: a path aggregation neck and decoupled heads on the levels of any backbone.

Neck: PANet (arXiv:1803.01534) with YOLOv8's stages. Heads: a branch for boxes and one for scores on every level; the
distance from a cell to each side of its box is a distribution over 16 bins (Generalized Focal Loss, arXiv:2006.04388).
"""

from __future__ import annotations

import itertools

import keras

from keras_yolo_backbones.blocks import Style, c2f, concat, conv, two_convs

BINS = 16
"""A distance is between 0 and 15 cells."""


def build_detector(
    backbone: keras.Model, classes: int, *, repeats: int = 1, activation: str = "silu", name: str = "detector"
) -> keras.Model:
    """Put neck and heads on a backbone.

    Args:
        backbone: its outputs are neighbouring levels, `{"P3": …, "P4": …, "P5": …}`.
        classes: number of classes.
        repeats: bottlenecks in every stage of the neck.
        activation: of neck and heads.
        name: the model's name.

    Returns:
        images -> for every level `P3_boxes`, (batch, height, width, 4 · 16) logits of the distances to the left, top,
        right and bottom, and `P3_scores`, (batch, height, width, classes) logits.
    """
    style = Style(activation=activation, epsilon=1e-3, momentum=0.97)
    levels = neck(backbone.output, repeats, style)
    lowest = next(iter(levels.values())).shape[-1]
    outputs = {}
    for level, x in levels.items():
        for part, hidden, channels in (
            ("boxes", max(16, lowest // 4, 4 * BINS), 4 * BINS),
            ("scores", max(lowest, min(classes, 100)), classes),
        ):
            outputs[f"{level}_{part}"] = head(x, hidden, channels, part, style, f"head.{level}.{part}")
    return keras.Model(backbone.input, outputs, name=name)


def neck(levels: dict[str, keras.KerasTensor], repeats: int, style: Style) -> dict[str, keras.KerasTensor]:
    """The levels, each of which has seen all others: from the top down, then from the bottom up. Channels stay."""
    names = list(levels)
    width = {name: tensor.shape[-1] for name, tensor in levels.items()}
    mixed = dict(levels)
    for lower, upper in reversed(list(itertools.pairwise(names))):
        x = keras.layers.UpSampling2D(2, name=f"neck.up{lower}")(mixed[upper])
        x = concat([x, mixed[lower]], style=style, name=f"neck.down{lower}")
        mixed[lower] = c2f(x, width[lower], repeats, unit=two_convs, style=style, name=f"neck.top{lower}")
    for lower, upper in itertools.pairwise(names):
        x = conv(mixed[lower], width[lower], 3, stride=2, style=style, name=f"neck.stride{upper}")
        x = concat([x, mixed[upper]], style=style, name=f"neck.up{upper}.again")
        mixed[upper] = c2f(x, width[upper], repeats, unit=two_convs, style=style, name=f"neck.bottom{upper}")
    return mixed


def head(x: keras.KerasTensor, hidden: int, channels: int, part: str, style: Style, name: str) -> keras.KerasTensor:
    """Two conv units and a 1×1 convolution that begins with boxes of two cells, and with objects being rare."""
    for index in range(2):
        x = conv(x, hidden, 3, style=style, name=f"{name}.{index}")
    start = keras.initializers.Constant(1.0 if part == "boxes" else -4.6)
    return keras.layers.Conv2D(channels, 1, bias_initializer=start, name=f"{name}.2")(x)
