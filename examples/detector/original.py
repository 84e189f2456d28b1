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

NORM = ("weight", "bias", "running_mean", "running_var")


def from_original(path, *, image_size: int = 640) -> tuple[keras.Model, tuple[str, ...]]:
    """Build the detector that a YOLOv8 n … x detection checkpoint holds, and the names of its classes.

    Raises:
        CheckpointError: the file cannot be read, or is no such detector.
    """
    backbone = kyb.from_checkpoint(path, input_shape=(image_size, image_size, 3))
    with kyb.read_checkpoint(path) as checkpoint:
        tensors, facts = checkpoint.tensors, checkpoint.facts
        last = "model.22.cv3.0.2.weight"
        if last not in tensors or facts.task not in ("", "detect"):
            what = f"a network for the task {facts.task!r}" if facts.task else "no YOLOv8 detector"
            raise kyb.CheckpointError(path, f"is {what}; this example reads YOLOv8 detectors, sizes n to x.")
        classes = tensors[last].shape[0]
        repeats = len({key for key in tensors if re.fullmatch(r"model\.12\.m\.\d+\.cv1\.conv\.weight", key)})
        model = build_detector(backbone, classes, repeats=repeats)
        for layer in model.layers:
            if layer.weights and layer.name.startswith(("neck.", "head.")):
                layer.set_weights(_weights(layer, tensors))
        names = facts.classes or tuple(f"class {index}" for index in range(classes))
    return model, names


def _weights(layer: keras.Layer, tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The tensors of one of our layers, in Keras' layout. `.at16` in a name is the slice from output channel 16."""
    module = next(module for module in MODULES if layer.name.startswith(f"{module}."))
    path = MODULES[module] + layer.name[len(module) :]
    part = re.search(r"\.at(\d+)(?=\.)", path)
    path, start = (path.replace(part[0], ""), int(part[1])) if part else (path, 0)
    if isinstance(layer, keras.layers.BatchNormalization):
        found = [tensors[f"{path}.{name}"] for name in NORM]
    else:
        found = [tensors[f"{path}.{name}"] for name in ("weight", "bias")[: len(layer.weights)]]
    count = layer.weights[0].shape[-1]
    return [np.transpose(tensor[start : start + count], (2, 3, 1, 0) if tensor.ndim == 4 else None) for tensor in found]
