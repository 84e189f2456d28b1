"""Products of two tensors, rounded to the integers of TFLite also where float32 hardly tells a tie."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.agreeing import agreeing_scale, product_as_in_xnnpack
from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.grids import Grid, grid_of, read_grid


def products_as_in_tflite(edit: Editing) -> None:
    """Give each Mul of two rounded tensors the step with which most products become TFLite's integers.

    In SiLU one factor follows from the other, so that there are 256 products: one that is 139.49999 steps was 140 in
    XNNPACK and 139 in onnxruntime, in one value of a thousand. The step changes by 2^-16 at most.
    """
    for node in edit.ordered():
        rounding = edit.only_taker(node.output[0]) if node.op_type == "Mul" else None
        if rounding is None or rounding.op_type != "QuantizeLinear":
            continue
        one, other = (grid_of(edit, name) for name in node.input)
        target = read_grid(edit, rounding)
        if one is None or other is None or target is None:
            continue
        first, second = _factors(edit, node, one, other)
        ratio = one.scale * other.scale / target.scale
        wanted = product_as_in_xnnpack(first * second, ratio)
        weights = target.holds(wanted) / ((1 + np.abs(first)) * (1 + np.abs(second)))
        scale = np.array(agreeing_scale(first * second * ratio, wanted, weights, target.scale), np.float32)
        if scale != np.float32(target.scale):
            edit.put(rounding, [1], edit.add_constant(f"{rounding.input[1]}.of_product", scale))


def _factors(edit: Editing, node: Any, one: Grid, other: Grid) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of integers that occur, without zero points."""
    for given, gate, positions in ((one, other, (0, 1)), (other, one, (1, 0))):
        rounding = edit.maker(edit.maker(node.input[positions[1]]).input[0])
        sigmoid = edit.maker(rounding.input[0]) if rounding is not None else None
        if sigmoid is not None and sigmoid.op_type == "Sigmoid" and sigmoid.input[0] == node.input[positions[0]]:
            numbers = given.numbers()
            gates: np.ndarray = gate.quantize(1 / (1 + np.exp(-numbers * given.scale))) - np.float64(gate.zero_point)
            return numbers, gates
    return one.with_all(other)
