"""A TFLite file of a convolutional network for another image size, without another conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keras_yolo_backbones.fragile import bare_interpreter, lite_tools
from keras_yolo_backbones.litert import operators

FIXED = {
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "STRIDED_SLICE",
    "SLICE",
    "BROADCAST_TO",
    "TRANSPOSE_CONV",
}
"""Operators that hold sizes as constants."""


def resized(file: Path, side: int) -> bytes | None:
    """The file with an input of `side`, all its other tensors in the shapes that LiteRT finds for it.

    Returns:
        its content, or nothing where an operator holds a size as a constant.
    """
    if any(operator.name in FIXED for operator in operators(file)):
        return None
    interpreter = bare_interpreter(file)
    entry = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(entry["index"], [1, side, side, entry["shape"][3]])
    interpreter.allocate_tensors()
    tools = lite_tools()
    model = tools.read_model_from_bytearray(bytearray(file.read_bytes()))
    shapes = {detail["index"]: detail["shape"] for detail in interpreter.get_tensor_details()}
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        if len(tensor.shape) == 4 and model.buffers[tensor.buffer].data is None:
            tensor.shape = np.asarray(shapes[index], np.int32)
            tensor.shapeSignature = None
    return bytes(tools.convert_object_to_bytearray(model))
