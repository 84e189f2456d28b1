"""A model's variables as Keras' own weight files name them: by layer, and by place in the layer."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np


class Place(NamedTuple):
    """A variable that takes the tensor `key` as it is.

    Attributes:
        variable: the Keras variable.
        path: `"stem.conv.kernel"`.
        key: `"stem.conv/0"`.
    """

    variable: keras.Variable
    path: str
    key: str

    def take(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor."""
        return tensor


def keras_targets(model: keras.Model) -> list[Place]:
    """Every variable that `save_weights` writes."""
    found = []
    for layer in model.layers:
        trained, others = ([v for v in layer.weights if v.trainable is wanted] for wanted in (True, False))
        ordered = layer.weights if not layer.trainable else [*trained, *others]
        found += [Place(v, f"{layer.name}.{v.name}", f"{layer.name}/{i}") for i, v in enumerate(ordered)]
    return found
