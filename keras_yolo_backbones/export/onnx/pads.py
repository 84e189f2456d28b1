"""Paddings before convolutions, folded into them: tf2onnx leaves them before those that are depthwise."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.export.onnx.editing import Editing, attribute


def fold_pads(edit: Editing) -> None:
    """Let each convolution pad with zeros itself, where a Pad does it for it alone or for convolutions only."""
    from onnx import helper

    for node in edit.ordered():
        pad = edit.maker(node.input[0]) if node.op_type == "Conv" else None
        sides = _spatial(edit, pad) if pad is not None and pad.op_type == "Pad" else None
        if pad is None or sides is None or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET":
            continue
        own = attribute(node, "pads", [0] * len(sides))
        kept = [entry for entry in node.attribute if entry.name != "pads"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", [a + b for a, b in zip(own, sides, strict=True)])])
        edit.put(node, [0], pad.input[0])


def _spatial(edit: Editing, pad: Any) -> list[int] | None:
    """What a Pad adds at the sides of a map, first all beginnings, then all ends; `None` if it does anything else."""
    sides = edit.constant(pad.input[1]) if len(pad.input) > 1 else None
    filling = edit.constant(pad.input[2]) if len(pad.input) > 2 and pad.input[2] else np.zeros(1)
    plain = attribute(pad, "mode", b"constant") == b"constant" and filling is not None and not np.any(filling)
    if sides is None or not plain or len(pad.input) > 3:
        return None
    first, last = np.split(sides, 2)
    if first[:2].any() or last[:2].any() or min(sides) < 0:
        return None
    return [int(side) for side in (*first[2:], *last[2:])]
