"""Reshapes whose only open size is the batch, with a constant for their shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing


def constant_shapes(edit: Editing) -> None:
    """Write −1 for the batch in the shape of a Reshape, in place of five operators that ask a tensor for it."""
    for node in edit.ordered():
        sizes = _sizes(edit, node.input[1]) if node.op_type == "Reshape" else None
        if sizes is not None:
            edit.put(node, [1], edit.add_constant(f"{node.name}.shape", np.array(sizes, np.int64)))


def _sizes(edit: Editing, name: str) -> list[int] | None:
    """The sizes that a tensor holds, −1 for one that is read off another tensor; `None` if there are more of those."""
    node = edit.maker(name)
    if node is not None and node.op_type == "Cast":
        node = edit.maker(node.input[0])
    if node is None or node.op_type != "Concat":
        return None
    parts = [edit.constant(part) for part in node.input]
    unknown = [part for part, value in zip(node.input, parts, strict=True) if value is None]
    if len(unknown) != 1 or not _is_one_size(edit, edit.maker(unknown[0])):
        return None
    return [int(size) for value in parts for size in ([-1] if value is None else value.ravel())]


def _is_one_size(edit: Editing, node: Any) -> bool:
    """Whether an operator cuts one element out of a vector."""
    if node is None or node.op_type != "Slice":
        return False
    start, end = (edit.constant(name) for name in node.input[1:3])
    return start is not None and end is not None and start.size == 1 and int(end[0]) - int(start[0]) == 1
