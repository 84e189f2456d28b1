"""Sums that lie half way between two steps: integers round them up, floats to the even neighbour."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.grids import Grid, grid_of, read_grid

_NUDGE = 1 - 2.0**-17
"""Far more than float32 is off by, and at the end of a range 2/1000 of a step: nothing but a tie is decided by it."""


def ties_up(edit: Editing) -> None:
    """Let ties of sums be rounded up, as TFLite does it.

    ReLU6 gives scales that are multiples of each other, 6/255 and 12/255, and then every other sum lies half way
    between two steps. Such sums are positive, so that a step which is a little smaller decides: up. The integers stand
    for what they stood for.
    """
    for node in edit.ordered():
        rounding = _rounding(edit, node) if node.op_type == "Add" else None
        target = None if rounding is None else read_grid(edit, rounding)
        if rounding is None or target is None or not any(_tied(grid_of(edit, name), target) for name in node.input):
            continue
        scale = edit.add_constant(f"{rounding.input[1]}.of_sum", np.array(target.scale * _NUDGE, np.float32))
        edit.put(rounding, [1], scale)


def _tied(source: Grid | None, target: Grid) -> bool:
    """Whether steps of `source` are halves of those of `target`, an odd number of them."""
    halves = 2 * source.scale / target.scale if source else 0.0
    return round(halves) % 2 == 1 and abs(halves - round(halves)) < 2.0**-14


def _rounding(edit: Editing, node: Any) -> Any | None:
    """The QuantizeLinear of what an operator makes, a ReLU between them or not."""
    behind = edit.only_taker(node.output[0])
    if behind is not None and behind.op_type in ("Clip", "Relu"):
        behind = edit.only_taker(behind.output[0])
    return behind if behind is not None and behind.op_type == "QuantizeLinear" else None
