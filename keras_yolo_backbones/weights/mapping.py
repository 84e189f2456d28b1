"""Which tensor of an original checkpoint belongs into which variable of a model.

Everything that happens to a tensor on its way picks and reorders elements, so that it can be run backwards exactly.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

import keras
import numpy as np

from keras_yolo_backbones.blocks import LearnedScale
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.families import Layout

_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""Keras' variable name -> torch's."""

_SLICE = re.compile(r"\.at(\d+)")


@dataclasses.dataclass(frozen=True)
class Slot:
    """A variable of the model and where its value comes from.

    Attributes:
        variable: the Keras variable.
        path: its layer and name, `"stage3.cv1.at0.conv.kernel"`.
        key: the original's state-dict key, `"model.4.cv1.conv.weight"`.
        take: the original tensor under `key`, in torch's layout -> the variable's value.
    """

    variable: keras.Variable
    path: str
    key: str
    take: Callable[[np.ndarray], np.ndarray]


def slots(model: keras.Model, layout: Layout) -> tuple[list[Slot], list[str]]:
    """Every variable of `model` that the original has, and the paths of those that it has not (a neck, a head)."""
    found, foreign = [], []
    for layer in model.layers:
        for variable in layer.weights:
            path = f"{layer.name}.{variable.name}"
            slot = _slot(layer, variable, path, layout)
            if slot:
                found.append(slot)
            else:
                foreign.append(path)
    return found, foreign


def _slot(layer: keras.Layer, variable: keras.Variable, path: str, layout: Layout) -> Slot | None:
    module, _, leaf = layer.name.rpartition(".")
    piece = layout.piece(module)
    if piece:
        tail, rearranged = piece
        module = module.removesuffix(tail) + rearranged.original
    cut = _SLICE.search(module)
    module = _SLICE.sub("", module)
    original = layout.original(f"{module}.{leaf}" if module else leaf)
    if original is None:
        return None

    def take(tensor: np.ndarray) -> np.ndarray:
        if piece:
            tensor = piece[1].take(tensor)
        if cut:
            start = int(cut[1])
            tensor = tensor[start : start + _outputs(layer, variable)]
        return _to_keras(layer, tensor)

    key = original if isinstance(layer, LearnedScale) else f"{original}.{_NAMES.get(variable.name, variable.name)}"
    return Slot(variable, path, key, take)


def _outputs(layer: keras.Layer, variable: keras.Variable) -> int:
    """Output channels of the variable's layer: how many rows of the original tensor it takes."""
    axis = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) and len(variable.shape) == 4 else -1
    return variable.shape[axis]


def _to_keras(layer: keras.Layer, tensor: np.ndarray) -> np.ndarray:
    """torch's kernel layout (out, in, height, width) to Keras'; other tensors as they are."""
    if tensor.ndim != 4:
        return tensor
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def assign(model: keras.Model, layout: Layout, tensors: Mapping[str, np.ndarray], *, source: object) -> list[str]:
    """Put the tensors of an original checkpoint into `model`; nothing is changed unless all of them fit.

    Args:
        model: a backbone of the family and size that `layout` describes.
        layout: of that network.
        tensors: the original's state dict, in torch's layout.
        source: what the tensors came from, for error messages.

    Returns:
        The keys that found no place: the original's neck and head.

    Raises:
        CheckpointError: a tensor is missing or has another shape than the model's.
    """
    found, _ = slots(model, layout)
    values, missing, wrong = [], [], []
    for slot in found:
        if slot.key not in tensors:
            missing.append(f"{slot.key} (for {slot.path})")
            continue
        try:
            value = slot.take(tensors[slot.key])
        except (ValueError, IndexError):
            value = None
        if value is None or value.shape != tuple(slot.variable.shape):
            wrong.append(f"{slot.key} {tensors[slot.key].shape} (for {slot.path} {tuple(slot.variable.shape)})")
        values.append((slot.variable, value))
    if missing:
        raise CheckpointError(source, f"{len(missing)} tensors are missing: {_some(missing)}.")
    if wrong:
        raise CheckpointError(source, f"{len(wrong)} tensors have another shape than the model: {_some(wrong)}.")
    for variable, value in values:
        variable.assign(value)
    used = {slot.key for slot in found}
    return [key for key in tensors if key not in used]


def _some(items: list[str], most: int = 8) -> str:
    rest = f", … and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest
