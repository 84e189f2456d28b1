"""QuantizeLinear and DequantizeLinear in place of marks, and around what only moves values."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.export.onnx.editing import Editing, attribute, scope
from keras_yolo_backbones.export.onnx.grids import Grid, add_pair, grid_of
from keras_yolo_backbones.export.onnx.marking import MARK, read_mark
from keras_yolo_backbones.quantization.ranges import step

MOVES = {
    *("Concat", "MaxPool", "Resize", "Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze", "Flatten"),
    *("Pad", "Gather", "Tile", "Expand", "DepthToSpace", "SpaceToDepth"),
}
"""Operators whose outputs hold only values of their inputs; of Resize and Pad some do."""


def marks_to_pairs(edit: Editing, dtype: np.dtype) -> dict[float, float]:
    """Put a pair in place of each mark that has a range.

    Where the type is int8, all zero points are to be 0. What a sigmoid or a softmax gives has the range that TFLite
    fixes, from 0 to 1: it is not rounded then, which is never less exact.

    Returns:
        Scale -> the step that it is rounded from, in double precision.
    """
    steps = {}
    for node in edit.ordered():
        tensor, ends = read_mark(node) if node.op_type == MARK else ("", None)
        if ends is None:
            continue
        grid = Grid.of(ends, dtype)
        steps[grid.scale] = step(ends)
        source, output = node.input[0], node.output[0]
        edit.remove(node)
        if dtype == np.int8 and grid.zero_point:
            _pass_on(edit, source, output)
            continue
        result = add_pair(edit, source, grid, tensor, result=output if output in edit.returned else None)
        edit.redirect(output, result)
    return steps


def drop_marks(edit: Editing) -> None:
    """Take out the marks where float layers begin."""
    for node in edit.ordered():
        if node.op_type == MARK:
            source, output = node.input[0], node.output[0]
            edit.remove(node)
            _pass_on(edit, source, output)


def pair_moved(edit: Editing) -> None:
    """A pair after each operator that only moves rounded values: runtimes compute in integers what has pairs around it.

    The values are multiples of the step already, so that these pairs change nothing.
    """
    for node in edit.ordered():
        if not _moves(edit, node):
            continue
        values = list(node.input) if node.op_type == "Concat" else list(node.input)[:1]
        grids = {grid_of(edit, name) for name in values}
        grid = grids.pop()
        if grid is None or grids:
            continue
        for position, output in enumerate(list(node.output)):
            if edit.takers(output) or output in edit.returned:
                _pair_behind(edit, node, position, grid)


def _pair_behind(edit: Editing, node: Any, position: int, grid: Grid) -> None:
    output, label = node.output[position], scope(node)
    if node.op_type == "Transpose":  # tf2onnx calls it like the layer that it turns a tensor for
        label = edit.unique(f"{node.input[0]}.turned")
    edit.rename_output(node, edit.unique(f"{label}.moved"), position)
    source = node.output[position]
    result = add_pair(edit, source, grid, label, result=output if output in edit.returned else None)
    edit.redirect(output, result)


def _moves(edit: Editing, node: Any) -> bool:
    """Whether an operator makes no values of its own: bilinear sizes do, and padding with anything but zeros."""
    if node.op_type == "Resize":
        return attribute(node, "mode", b"nearest") == b"nearest"
    if node.op_type == "Pad" and len(node.input) > 2 and node.input[2]:
        filling = edit.constant(node.input[2])
        return filling is not None and not np.any(filling)
    return node.op_type in MOVES


def _pass_on(edit: Editing, source: str, output: str) -> None:
    """Let what took `output`, which nobody makes any more, take `source`."""
    if output not in edit.returned:
        edit.redirect(output, source)
        return
    if edit.maker(source) is None or source in edit.returned:
        edit.add("Identity", [source], [output])
    else:
        edit.rename(source, output)


def raw_ends(edit: Editing, graph: Any, dtype: np.dtype) -> None:
    """Let a graph take and give integers: no pair at its input and at its outputs any more.

    Raises:
        ArgumentError: an output has no integers.
    """
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(dtype)
    for entry in graph.input:
        for node in edit.takers(entry.name):
            rounded = node.output[0]
            edit.remove(node)
            edit.redirect(rounded, entry.name)
        entry.type.tensor_type.elem_type = kind
    for entry in graph.output:
        last = edit.maker(entry.name)
        if last is None or last.op_type != "DequantizeLinear":
            raise ArgumentError(f'io="int8": the output {entry.name} is computed in float; use io="float32".')
        integers = last.input[0]
        edit.rename(entry.name, edit.unique(f"{entry.name}.real"))
        edit.rename(integers, entry.name)
        entry.type.tensor_type.elem_type = kind
