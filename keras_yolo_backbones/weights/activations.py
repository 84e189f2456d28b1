"""Which activation follows each convolution of a model."""

from __future__ import annotations

from typing import Any

import keras

from keras_yolo_backbones.blocks.style import ACTIVATIONS
from keras_yolo_backbones.weights.recognition.trained import LINEAR

_OWN = ("name", "dtype", "trainable")


def activations(model: keras.Model) -> dict[str, str]:
    """The activation of each of the model's modules.

    Returns:
        Module, such as `"stage3.cv1"` -> key of `ACTIVATIONS`, or the class of a layer that is none of them;
        `"linear"` for a convolution that no activation of the same module follows.
    """
    known = [(name, _nature(make(name=name))) for name, make in ACTIVATIONS.items()]
    found = {layer.name[: -len(".conv")]: LINEAR for layer in model.layers if layer.name.endswith(".conv")}
    for layer in model.layers:
        if layer.name.endswith(".act"):
            nature = _nature(layer)
            names = (name for name, other in known if other == nature)
            found[layer.name[: -len(".act")]] = next(names, type(layer).__name__)
    return found


def _nature(layer: keras.Layer) -> tuple[type, Any]:
    return type(layer), {key: value for key, value in layer.get_config().items() if key not in _OWN}
