"""Sums that lie half way between two steps, or nearly: TFLite rounds them up, floats to the even neighbour."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.agreeing import agreeing_scale, sum_as_in_xnnpack
from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.grids import Grid, grid_of, read_grid

_LEAST = 2.0**-17
"""A step that is smaller by this share decides ties where zero points are 0: far more than float32 is off by."""

_WITH_ZERO_POINTS = 2.0**-13
"""Runtimes add a zero point of 128 before they round. float32 is off by up to 2^-15 there, and the smallest tie is at
half a step."""


def sums_as_in_tflite(edit: Editing) -> None:
    """Let ties of sums be rounded up, as TFLite does it, and other sums as XNNPACK's factors of 21 bits have them.

    ReLU6 gives scales that are multiples of each other, 6/255 and 12/255, and then every other sum lies half way
    between two steps. Such sums are positive, so that a step which is a little smaller decides: up. The integers mean
    what they meant before.
    """
    for node in edit.ordered():
        rounding = _rounding(edit, node) if node.op_type == "Add" else None
        target = None if rounding is None else read_grid(edit, rounding)
        if rounding is None or target is None:
            continue
        grids = [grid for grid in (grid_of(edit, name) for name in node.input) if grid]
        if any(_halves(grid, target) % 2 for grid in grids):
            scale = np.array(target.scale * (1 - _nudge(grids, target)), np.float32)
        elif len(grids) == 2:
            scale = np.array(_agreeing(grids[0], grids[1], target), np.float32)
        else:
            continue
        if scale != np.float32(target.scale):
            edit.put(rounding, [1], edit.add_constant(f"{rounding.input[1]}.of_sum", scale))


def _agreeing(first: Grid, second: Grid, target: Grid) -> float:
    """The step with which most of the sums that occur become XNNPACK's integers; small addends occur more often."""
    a, b = first.with_all(second)
    ratios = first.scale / target.scale, second.scale / target.scale
    wanted = sum_as_in_xnnpack(a, b, ratios)
    weights = target.holds(wanted) / ((1 + np.abs(a)) * (1 + np.abs(b)))
    return agreeing_scale(a * ratios[0] + b * ratios[1], wanted, weights, target.scale)


def _nudge(grids: list[Grid], target: Grid) -> float:
    """By which share the step is made smaller: as much as decides ties, and little beside what else may be summed."""
    if not any(grid.zero_point for grid in (*grids, target)):
        return _LEAST
    # Where all sums are multiples of half a step, nothing but ties comes near to one.
    return _WITH_ZERO_POINTS if all(_halves(grid, target) for grid in grids) else _WITH_ZERO_POINTS / 2


def _halves(source: Grid, target: Grid) -> int:
    """How many halves of a step of `target` a step of `source` is; 0 if it is no whole number."""
    halves = 2 * source.scale / target.scale
    return round(halves) if abs(halves - round(halves)) < 2.0**-14 else 0


def _rounding(edit: Editing, node: Any) -> Any | None:
    """The QuantizeLinear of what an operator makes, a ReLU between them or not."""
    behind = edit.only_taker(node.output[0])
    if behind is not None and behind.op_type in ("Clip", "Relu"):
        behind = edit.only_taker(behind.output[0])
    return behind if behind is not None and behind.op_type == "QuantizeLinear" else None
