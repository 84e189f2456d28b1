"""Kernels as int8 with a scale a channel, biases as int32, other constants as the activations beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing, attribute, scope
from keras_yolo_backbones.export.onnx.grids import Grid, add_dequantize, grid_of
from keras_yolo_backbones.quantization.ranges import balanced

LARGEST = {8: 127, 7: 63}
"""Bits of a kernel -> the integer of a channel's largest weight."""

_LARGEST_BIAS = 2.0**30


def quantize_weights(
    edit: Editing, dtype: np.dtype, steps: Mapping[float, float] | None = None, *, largest: int = 127
) -> None:
    """Write the constants of every operator on rounded tensors as integers.

    A kernel's channels have been rounded already, so that its largest weight is 127 steps. A bias has the step of input
    times kernel; where a kernel is so small that an int32 could not hold the bias in this step, the kernel's is made
    larger. Where activations are int8, for TensorRT, biases stay float, rounded to the same steps: it knows no int32.

    Args:
        edit: the graph.
        dtype: of the activations.
        steps: scale -> the step that it is rounded from. TFLite's converter divides biases by steps in double
            precision; by scales in float32, one in 600 biases was an integer away.
        largest: the integer of a channel's largest weight.
    """
    for node in edit.ordered():
        axis = _output_axis(edit, node)
        if axis is not None:
            _quantize_kernel(edit, node, axis, dtype, steps or {}, largest)
        elif node.op_type in ("Mul", "Add", "Sub", "Div"):
            _quantize_operand(edit, node, dtype)


def _output_axis(edit: Editing, node: Any) -> int | None:
    """The axis of a kernel that runs over output channels; `None` if the operator has no kernel to quantize."""
    axes = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 0 if attribute(node, "transB", 0) else 1}
    if node.op_type not in axes or grid_of(edit, node.input[0]) is None or edit.constant(node.input[1]) is None:
        return None
    return axes[node.op_type]


def _quantize_kernel(
    edit: Editing, node: Any, axis: int, dtype: np.dtype, steps: Mapping[float, float], most: int
) -> None:
    source, kernel = grid_of(edit, node.input[0]), edit.constant(node.input[1])
    if source is None or kernel is None:
        return
    bias = edit.constant(node.input[2]) if len(node.input) > 2 else None
    label = _label(node)
    others = tuple(index for index in range(kernel.ndim) if index != axis)
    largest: np.ndarray = np.maximum(np.abs(kernel).max(axis=others), np.float32(1e-9))
    if bias is not None:
        largest = np.maximum(largest, np.float32(most * np.abs(bias) / (source.scale * _LARGEST_BIAS)))
    scales = largest / np.float32(most)
    shape = [-1 if index == axis else 1 for index in range(kernel.ndim)]
    integers = np.clip(np.rint(kernel / scales.reshape(shape)), -most, most).astype(np.int8)
    edit.put(node, [1], _channels(edit, f"{label}.kernel", integers, scales, axis))
    if bias is not None:
        step = steps.get(source.scale, source.scale) * np.float64(largest) / most
        whole = np.rint(np.float64(bias) / step).astype(np.int32)
        if dtype == np.int8:
            edit.put(node, [2], edit.add_constant(f"{label}.bias", np.asarray(whole * step, np.float32)))
            return
        edit.put(node, [2], _channels(edit, f"{label}.bias", whole, step.astype(np.float32), 0))


def _label(node: Any) -> str:
    """The layer of an operator with a kernel: tf2onnx forgets it where it folds a padding in, but names the bias."""
    if "/" in node.name or len(node.input) < 3:
        return scope(node)
    return re.sub(r"_1$", "", node.input[2].split("/")[0])


def _channels(edit: Editing, name: str, integers: np.ndarray, scales: np.ndarray, axis: int) -> str:
    """Integers with a scale a channel as a tensor; returns its name."""
    zeros = np.zeros(scales.shape, integers.dtype)
    parts = {f"{name}.{integers.dtype.name}": integers, f"{name}.scales": scales, f"{name}.zero_points": zeros}
    inputs = [edit.add_constant(part, value) for part, value in parts.items()]
    output = edit.unique(name)
    edit.add("DequantizeLinear", inputs, [output], axis=axis)
    return output


def _quantize_operand(edit: Editing, node: Any, dtype: np.dtype) -> None:
    """A constant that is multiplied with a rounded tensor, or added to it: the range of its values has one scale."""
    for position, name in enumerate(node.input):
        value, partner = edit.constant(name), node.input[1 - position]
        if value is None or value.dtype != np.float32 or grid_of(edit, partner) is None:
            continue
        low, high = min(0.0, float(value.min())), max(0.0, float(value.max()))
        ends = (low, high) if high > low else (0.0, 1.0)
        grid = Grid.of(balanced(ends) if dtype == np.int8 else ends, dtype)
        label = f"{scope(node)}.constant"
        constant = edit.add_constant(f"{label}.{dtype.name}", grid.quantize(value))
        edit.put(node, [position], add_dequantize(edit, constant, grid, label))
