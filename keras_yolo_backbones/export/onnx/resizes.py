"""Nearest-neighbour Resize operators in a form that every runtime takes."""

from __future__ import annotations

from typing import Any


def plain_resizes(graph: Any) -> int:
    """Write nearest-neighbour enlargement as `asymmetric` and `floor`, in place; returns how many were changed.

    TensorFlow's own way to find the nearest pixel is `tf_half_pixel_for_nn`, which ONNX deprecated with opset 13. For
    whole factors, the only ones that upsampling has, both take the same pixels.
    """
    count = 0
    for node in graph.node:
        modes = {attribute.name: attribute for attribute in node.attribute}
        transformation = modes.get("coordinate_transformation_mode")
        if node.op_type != "Resize" or transformation is None or transformation.s != b"tf_half_pixel_for_nn":
            continue
        transformation.s = b"asymmetric"
        if "nearest_mode" in modes:
            modes["nearest_mode"].s = b"floor"
        else:
            node.attribute.add(name="nearest_mode", s=b"floor", type=transformation.type)
        count += 1
    return count
