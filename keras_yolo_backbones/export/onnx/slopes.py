"""Leaky ReLUs between two scales, rounded as XNNPACK rounds them: both factors are whole multiples of 1/256."""

from __future__ import annotations

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing, attribute
from keras_yolo_backbones.export.onnx.grids import grid_of, read_grid

_NUDGE = 2.0**-17
"""Products are multiples of 1/256 of a step; this decides ties, upwards as in XNNPACK, and nothing else."""


def slopes_in_256ths(edit: Editing) -> None:
    """Let each LeakyRelu multiply as XNNPACK's and the fake-quantized model's: with 8 bits after the point.

    The step that its output is rounded with changes by up to 1/500, its slope by up to 1/50. The integers mean what
    they meant before.
    """
    from onnx import helper

    for node in edit.ordered():
        rounding = edit.only_taker(node.output[0]) if node.op_type == "LeakyRelu" else None
        if rounding is None or rounding.op_type != "QuantizeLinear":
            continue
        given, target = grid_of(edit, node.input[0]), read_grid(edit, rounding)
        if given is None or target is None:
            continue
        ratio = np.float32(256) * np.float32(given.scale) / np.float32(target.scale)
        slope = attribute(node, "alpha", 0.01)
        rising, falling = (float(np.rint(ratio * np.float32(factor))) for factor in (1, slope))
        if rising < 1:
            continue
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("alpha", falling / rising * (1 - 2 * _NUDGE)))
        scale = np.array(given.scale * 256 / rising * (1 - _NUDGE), np.float32)
        edit.put(rounding, [1], edit.add_constant(f"{rounding.input[1]}.of_slope", scale))
