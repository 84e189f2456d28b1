"""The integers that a tensor of an ONNX file is held in, and the pairs of operators that say so."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.quantization.ranges import step

SCHEMES = {"asymmetric": np.dtype(np.uint8), "symmetric": np.dtype(np.int8)}
"""Scheme -> type of the activations. onnxruntime computes in integers on x86 only where they are uint8."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """real = scale · (integer − zero point).

    Attributes:
        scale: float32.
        zero_point: an integer of the type.
        dtype: uint8 or int8.
    """

    scale: float
    zero_point: int
    dtype: np.dtype

    @classmethod
    def of(cls, ends: tuple[float, float], dtype: np.dtype) -> Grid:
        """The 256 values for a range, as TFLite counts them; the zero points of uint8 are 128 above those of int8."""
        low, scale = float(np.float32(ends[0])), step(ends)
        return cls(float(np.float32(scale)), int(np.rint(-low / scale)) + int(np.iinfo(dtype).min), dtype)

    def integer(self, value: float) -> int:
        """The integer for a real value, beyond the type's limits too; in float32, as runtimes count, and ties go up."""
        return int(np.floor(np.float32(value) / np.float32(self.scale) + np.float32(0.5))) + self.zero_point

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Integers for real values, cut off at the type's limits."""
        limits = np.iinfo(self.dtype)
        steps = np.rint(values / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(steps, limits.min, limits.max), self.dtype)

    def dequantize(self, integers: np.ndarray) -> np.ndarray:
        """The real values of integers, float32."""
        centred: np.ndarray = integers.astype(np.float32) - np.float32(self.zero_point)
        return centred * np.float32(self.scale)

    def numbers(self) -> np.ndarray:
        """All integers of the type without the zero point, float64."""
        limits = np.iinfo(self.dtype)
        return np.arange(limits.min, limits.max + 1, dtype=np.float64) - self.zero_point

    def with_all(self, other: Grid) -> tuple[np.ndarray, np.ndarray]:
        """Every integer of this grid with every one of another, both without the zero point."""
        own, others = self.numbers(), other.numbers()
        return np.repeat(own, len(others)), np.tile(others, len(own))

    def holds(self, numbers: np.ndarray) -> np.ndarray:
        """Which integers without the zero point are within the type's limits."""
        limits = np.iinfo(self.dtype)
        return (numbers + self.zero_point >= limits.min) & (numbers + self.zero_point <= limits.max)

    def describe(self) -> dict[str, Any]:
        """As a manifest says it."""
        return {"dtype": self.dtype.name, "scale": self.scale, "zero_point": self.zero_point}


def constants(edit: Editing, grid: Grid, tensor: str) -> list[str]:
    """The names of scale and zero point as constants, called after a tensor."""
    scale = edit.add_constant(f"{tensor}.scale", np.array(grid.scale, np.float32))
    return [scale, edit.add_constant(f"{tensor}.zero_point", np.array(grid.zero_point, grid.dtype))]


def add_pair(edit: Editing, source: str, grid: Grid, tensor: str, *, result: str | None = None) -> str:
    """Round `source` to a grid and back; returns the name of the rounded tensor.

    Args:
        edit: the graph.
        source: what is rounded.
        grid: to these values.
        tensor: what the rounded tensor is called, in integers `….int8`.
        result: its name where it must have a certain one.
    """
    integers = edit.unique(f"{tensor}.int8")
    edit.add("QuantizeLinear", [source, *constants(edit, grid, tensor)], [integers])
    return add_dequantize(edit, integers, grid, tensor, result=result)


def add_dequantize(edit: Editing, integers: str, grid: Grid, tensor: str, *, result: str | None = None) -> str:
    """The real values of integers; returns their name."""
    result = result or edit.unique(tensor)
    edit.add("DequantizeLinear", [integers, *constants(edit, grid, tensor)], [result])
    return result


def grid_of(edit: Editing, name: str) -> Grid | None:
    """The grid of a tensor that a DequantizeLinear with one scale makes; `None` for others."""
    node = edit.maker(name)
    return read_grid(edit, node) if node is not None and node.op_type == "DequantizeLinear" else None


def read_grid(edit: Editing, node: Any) -> Grid | None:
    """The grid of a QuantizeLinear or DequantizeLinear, `None` if it has a scale for each channel."""
    scale, zero_point = (edit.constant(name) for name in list(node.input)[1:3])
    if scale is None or zero_point is None or scale.ndim:
        return None
    return Grid(float(scale), int(zero_point), zero_point.dtype)
