"""A whole YOLOv8 detector out of an original checkpoint: backbone, neck and head."""

from __future__ import annotations

import re
from collections.abc import Mapping

import keras
import numpy as np
from network import build_detector

import keras_yolo_backbones as kyb

MODULES = {
    "neck.topP4": "model.12",
    "neck.topP3": "model.15",
    "neck.strideP4": "model.16",
    "neck.bottomP4": "model.18",
    "neck.strideP5": "model.19",
    "neck.bottomP5": "model.21",
    **{
        f"head.P{level}.{part}": f"model.22.{branch}.{level - 3}"
        for level in (3, 4, 5)
        for part, branch in (("boxes", "cv2"), ("scores", "cv3"))
    },
}
"""Our module -> the original's."""

READS = "this example reads YOLOv8 detectors, sizes n to x."

NORM = ("weight", "bias", "running_mean", "running_var")


def from_original(path, *, image_size: int = 640) -> tuple[keras.Model, tuple[str, ...]]:
    """Build the detector that a YOLOv8 n … x detection checkpoint holds, and the names of its classes.

    Batch norms of the file may be folded, as they are in ONNX files with the original's names.

    Raises:
        CheckpointError: the file cannot be read, or is no such detector.
    """
    backbone = kyb.from_checkpoint(path, input_shape=(image_size, image_size, 3))
    with kyb.read_checkpoint(path) as checkpoint:
        tensors, facts = checkpoint.tensors, checkpoint.facts
        last = "model.22.cv3.0.2.weight"
        if last not in tensors or facts.task not in ("", "detect"):
            what = f"a network for the task {facts.task!r}" if facts.task else "no YOLOv8 detector"
            raise kyb.CheckpointError(path, f"is {what}; {READS}")
        classes = tensors[last].shape[0]
        names = facts.classes or tuple(f"class {index}" for index in range(classes))
        if len(names) != classes:
            raise kyb.CheckpointError(path, f"names {len(names)} classes, but its head has {classes}.")
        repeats = len({key for key in tensors if re.fullmatch(r"model\.12\.m\.\d+\.cv1\.conv\.weight", key)})
        model = build_detector(backbone, classes, repeats=repeats)
        for layer in model.layers:
            if layer.weights and layer.name.startswith(("neck.", "head.")):
                _fill(layer, tensors, path)
    return model, names


def _fill(layer: keras.layers.Layer, tensors: Mapping[str, np.ndarray], file) -> None:
    """Set the weights of one layer of neck or head from the file."""
    try:
        values = _weights(layer, tensors)
    except KeyError as missing:
        raise kyb.CheckpointError(file, f"has no tensor {missing}; {READS}") from None
    wanted = [tuple(variable.shape) for variable in layer.weights]
    if (found := [value.shape for value in values]) != wanted:
        raise kyb.CheckpointError(file, f"has {found} for {layer.name}, where {wanted} is expected; {READS}")
    layer.set_weights(values)


def _weights(layer: keras.layers.Layer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The tensors of one of our layers, in Keras' layout. `.at16` in a name is the slice from output channel 16."""
    module = next(module for module in MODULES if layer.name.startswith(f"{module}."))
    path = MODULES[module] + layer.name[len(module) :]
    part = re.search(r"\.at(\d+)(?=\.)", path)
    path, start = (path.replace(part[0], ""), int(part[1])) if part else (path, None)
    if isinstance(layer, keras.layers.BatchNormalization):
        bias = f"{path.removesuffix('.bn')}.conv.bias"
        found = _only_bias(tensors[bias], layer.epsilon) if bias in tensors else [tensors[f"{path}.{n}"] for n in NORM]
    else:
        found = [tensors[f"{path}.{name}"] for name in ("weight", "bias")[: len(layer.weights)]]
    if start is not None:
        found = [tensor[start : start + layer.weights[0].shape[-1]] for tensor in found]
    return [tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor for tensor in found]


def _only_bias(bias: np.ndarray, epsilon: float) -> list[np.ndarray]:
    """A batch norm that adds the bias into which the original's was folded."""
    return [np.ones_like(bias), bias, np.zeros_like(bias), np.full_like(bias, 1 - epsilon)]
