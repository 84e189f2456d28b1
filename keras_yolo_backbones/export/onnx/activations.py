"""ReLU and ReLU6 before a rounding: the ends of the integers do what they do, or a limit on integers does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.grids import Grid, read_grid


def absorb_activations(edit: Editing) -> None:
    """Take out every Relu and Clip whose result is rounded next.

    Where the range ends as the activation does, rounding cuts off the same. Where it is wider, for others share it, a
    Clip of integers comes after the rounding: onnxruntime fuses a convolution with the QuantizeLinear right behind it,
    and would compute it in float with a Clip between. The numbers are the same. int8 has its zero in the middle, so
    that the lower end never does what ReLU does; there the activation stays, as TensorRT wants it.
    """
    for node in edit.ordered():
        behind = edit.only_taker(node.output[0]) if node.op_type in ("Relu", "Clip") else None
        grid = read_grid(edit, behind) if behind is not None and behind.op_type == "QuantizeLinear" else None
        if grid is None or grid.dtype == np.int8:
            continue
        first, last = _limits(edit, node, grid)
        edit.redirect(node.output[0], node.input[0])
        if (first, last) != _type_limits(grid):
            _limit(edit, behind, grid, first, last)


def _limit(edit: Editing, rounding: Any, grid: Grid, first: int, last: int) -> None:
    """Put a Clip of integers behind a QuantizeLinear."""
    integers = rounding.output[0]
    ends = {"least": first, "most": last}
    names = [edit.add_constant(f"{integers}.{end}", np.array(value, grid.dtype)) for end, value in ends.items()]
    edit.rename_output(rounding, edit.unique(f"{integers}.unlimited"))
    edit.add("Clip", [rounding.output[0], *names], [integers])


def _limits(edit: Editing, node: Any, grid: Grid) -> tuple[int, int]:
    """Between which integers an activation leaves values."""
    low, high = (0.0, math.inf) if node.op_type == "Relu" else _clip_ends(edit, node)
    least, most = _type_limits(grid)
    first = least if math.isinf(low) else max(grid.integer(low), least)
    return first, most if math.isinf(high) else min(grid.integer(high), most)


def _clip_ends(edit: Editing, node: Any) -> tuple[float, float]:
    low, high = (edit.constant(name) for name in [*node.input[1:], "", ""][:2])
    return -math.inf if low is None else float(low), math.inf if high is None else float(high)


def _type_limits(grid: Grid) -> tuple[int, int]:
    limits = np.iinfo(grid.dtype)
    return int(limits.min), int(limits.max)
