"""Which activations a model has. Weights trained with one are of little use with another."""

from __future__ import annotations

import warnings
from typing import Any

import keras

from keras_yolo_backbones.blocks.style import ACTIVATIONS
from keras_yolo_backbones.families.frame.release import Published

_OWN = ("name", "dtype", "trainable")


def activations(model: keras.Model) -> set[str]:
    """Names (keys of `ACTIVATIONS`) of the activations after the model's convs."""
    known = {name: _nature(make(name=name)) for name, make in ACTIVATIONS.items()}
    found = [_nature(layer) for layer in model.layers if layer.name.endswith(".act")]
    return {name for name, nature in known.items() if nature in found}


def warn_of_activations(model: keras.Model, network: str, facts: Published) -> None:
    """Warn if `model` has an activation that the weights of `network` were not trained with."""
    other = activations(model) - set(facts.activations)
    if other:
        warnings.warn(
            f"the weights of {network} were trained with {', '.join(facts.activations)}, {model.name!r} has "
            f"{', '.join(sorted(other))}: its features are not the original's until it is trained.",
            stacklevel=4,
        )


def _nature(layer: keras.Layer) -> tuple[type, Any]:
    return type(layer), {key: value for key, value in layer.get_config().items() if key not in _OWN}
