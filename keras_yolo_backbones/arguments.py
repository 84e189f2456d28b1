"""The check that every public function makes of the model that it is called with."""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError


def check_model(model: Any, name: str = "model") -> None:
    """Raise unless `model` is a Keras 3 model whose graph can be read: functional, or sequential and built.

    Args:
        model: what the caller passed.
        name: of the argument.

    Raises:
        ArgumentError: the message says what was passed.
    """
    if not isinstance(model, keras.Model) or not is_functional(model) or _unbuilt(model):
        raise ArgumentError(
            f"{name} is {_said(model)}; expected a functional Keras 3 model: a backbone such as kyb.v8(), or "
            "keras.Model(inputs, outputs)."
        )


def is_functional(operation: Any) -> bool:
    """Whether a layer is a model that is a graph of layers."""
    return isinstance(operation, keras.Model) and (
        isinstance(operation, keras.Sequential) or hasattr(operation, "operations")
    )


def _unbuilt(model: keras.Model) -> bool:
    return isinstance(model, keras.Sequential) and not (model.built and model.inputs)


def _said(model: Any) -> str:
    """What was passed, in a few words."""
    kind = type(model)
    if model is None:
        return "None"
    if isinstance(model, (str, bytes, os.PathLike)):
        return f"a path, {os.fspath(model)!r} (kyb.load_model opens .keras files)"
    if kind.__module__.split(".")[0] == "tf_keras":
        return f"a tf_keras {kind.__name__}, which Keras 3 cannot read"
    if isinstance(model, keras.Sequential):
        return f"the Sequential {model.name!r}, which has no input shape yet (give it a keras.Input first)"
    if isinstance(model, keras.Model):
        return f"{model.name!r}, a subclassed model ({kind.__name__}), which has no graph to read"
    if isinstance(model, type):
        return f"the class {model.__name__} itself"
    return f"of the type {kind.__name__}"
