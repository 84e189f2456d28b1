"""Which tensor of an original checkpoint belongs into which variable of a model.

Everything that happens to a tensor on its way picks and reorders elements, so that it can be run backwards exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import keras
import numpy as np

from keras_yolo_backbones.blocks import LearnedScale
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.weights.slots import Slot

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


def original_module(module: str, layout: Layout) -> str | None:
    """The original's path of our module; `None` if the original has none. Slices of one module have the same path."""
    return layout.original(_renamed(module, layout))


def _renamed(module: str, layout: Layout) -> str:
    """Our module path without its slice, and under the original's name where the module is a piece."""
    piece = layout.piece(module)
    if piece:
        module = module.removesuffix(piece[0]) + piece[1].original
    return _SLICE.sub("", module)


def _slot(layer: keras.Layer, variable: keras.Variable, path: str, layout: Layout) -> Slot | None:
    module, _, leaf = layer.name.rpartition(".")
    found, cut, renamed = layout.piece(module), _SLICE.search(module), _renamed(module, layout)
    piece = found[1] if found else None
    original = layout.original(f"{renamed}.{leaf}" if renamed else leaf)
    if original is None:
        return None

    def take(tensor: np.ndarray) -> np.ndarray:
        if piece:
            tensor = piece.take(tensor)
        if cut:
            start = int(cut[1])
            tensor = tensor[start : start + _outputs(layer, variable)]
        return _to_keras(layer, tensor)

    key = original if isinstance(layer, LearnedScale) else f"{original}.{_NAMES.get(variable.name, variable.name)}"
    shape = _torch_shape(layer, tuple(variable.shape))
    return Slot(variable, path, key, take, shape, not (piece or cut), piece.shape if piece else tuple)


def _outputs(layer: keras.Layer, variable: keras.Variable) -> int:
    """Output channels of the variable's layer: how many rows of the original tensor are its own."""
    axis = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) and len(variable.shape) == 4 else -1
    return variable.shape[axis]


def _torch_shape(layer: keras.Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) != 4:
        return shape
    order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (3, 2, 0, 1)
    return tuple(shape[axis] for axis in order)


def _to_keras(layer: keras.Layer, tensor: np.ndarray) -> np.ndarray:
    """torch's kernel layout (out, in, height, width) to Keras'; other tensors as they are."""
    if tensor.ndim != 4:
        return tensor
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return tensor.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))


def original_shapes(model: keras.Model, layout: Layout) -> dict[str, tuple[int, ...]]:
    """State-dict key -> shape in the original, of all tensors that `model` has at least a slice of.

    Raises:
        ArgumentError: the model has only some of the slices of a tensor.
    """
    parts: dict[str, list[Slot]] = {}
    for slot in slots(model, layout)[0]:
        parts.setdefault(slot.key, []).append(slot)
    return {key: _original_shape(key, found) for key, found in parts.items()}


def _original_shape(key: str, parts: list[Slot]) -> tuple[int, ...]:
    """The shape from which all parts take, each element once."""
    first = parts[0].torch_shape
    if len(parts) == 1 and parts[0].whole:
        return first
    shape = parts[0].reshaped((sum(part.torch_shape[0] for part in parts), *first[1:]))
    try:
        taken = [part.take(_indices(shape)) for part in parts]
    except (ValueError, IndexError):
        taken = []
    fits = all(values.shape == tuple(part.variable.shape) for values, part in zip(taken, parts, strict=False))
    if taken and fits and _covers(taken, math.prod(shape)):
        return shape
    raise ArgumentError(
        f"the model has only a part of the original's {key}: it was built with fewer levels or with spp=False. "
        "Build it with the defaults."
    )


def _covers(taken: list[np.ndarray], count: int) -> bool:
    """Whether the indices are 0 … count − 1, each once."""
    seen: np.ndarray = np.zeros(count, bool)
    for indices in taken:
        seen[indices.ravel()] = True
    return sum(indices.size for indices in taken) == count and bool(seen.all())


def _indices(shape: tuple[int, ...]) -> np.ndarray:
    return np.arange(math.prod(shape)).reshape(shape)


def gather(
    model: keras.Model, layout: Layout, changed: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """The model's weights as the original's state dict: `Slot.take` run backwards, bit for bit.

    Args:
        model: a backbone.
        layout: of its network.
        changed: `Slot.path` -> what is taken in place of the variable's value.

    Returns:
        State-dict key -> array in torch's layout and the model's own element type.

    Raises:
        ArgumentError: as in `original_shapes`.
    """
    shapes = original_shapes(model, layout)
    tensors: dict[str, np.ndarray] = {}
    for slot in slots(model, layout)[0]:
        value = (changed or {}).get(slot.path)
        value = keras.ops.convert_to_numpy(slot.variable.value) if value is None else value
        shape = shapes[slot.key]
        if slot.key not in tensors:
            tensors[slot.key] = np.empty(shape, value.dtype)
        tensor = tensors[slot.key]
        tensor.reshape(-1)[slot.take(_indices(shape)).ravel()] = value.ravel()
    return tensors
