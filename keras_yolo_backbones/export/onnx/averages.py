"""Averages half way between two integers: TFLite rounds them away from the integer 0, floats to the even one."""

from __future__ import annotations

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing, attribute, scope
from keras_yolo_backbones.export.onnx.grids import Grid, add_dequantize, constants, grid_of, read_grid

_NUDGE = 2.0**-13
"""Decides ties, and is far below the quarter of a step that other averages of 2 · 2 values are away from one."""


def averages_away_from_zero(edit: Editing) -> None:
    """Let each AveragePool round as TFLite does.

    A quarter of the averages of 2 · 2 integers are ties. Averages may be taken of integers with any zero point: with
    that in the middle of the type, where TFLite's int8 has its 0, a step that is a little smaller rounds ties away
    from it. The integers mean what they meant before. With padding, which is a real 0, nothing is changed.
    """
    for node in edit.ordered():
        if node.op_type != "AveragePool" or any(attribute(node, "pads", [])) or attribute(node, "auto_pad"):
            continue
        rounding, source = edit.only_taker(node.output[0]), edit.maker(node.input[0])
        given = grid_of(edit, node.input[0])
        if given is None or rounding is None or rounding.op_type != "QuantizeLinear":
            continue
        if read_grid(edit, rounding) != given:
            continue
        label, middle = f"{scope(node)}.centred", 128 if given.dtype == np.uint8 else 0
        centred = Grid(given.scale, middle, given.dtype)
        edit.put(node, [0], add_dequantize(edit, source.input[0], centred, label))
        smaller = Grid(float(np.float32(given.scale * (1 - _NUDGE))), middle, given.dtype)
        for position, name in enumerate(constants(edit, smaller, f"{label}.average"), start=1):
            edit.put(rounding, [position], name)
