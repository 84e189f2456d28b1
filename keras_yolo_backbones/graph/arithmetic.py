"""Sums and products of a tensor with constants: layers that scale, and what `images / 255` becomes in a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.graph.copies import is_known


class Affine(NamedTuple):
    """scale · x + shift: one number, or one a channel."""

    scale: np.ndarray
    shift: np.ndarray

    @property
    def is_factor(self) -> bool:
        """Whether it multiplies by one number and adds nothing."""
        return self.scale.size == 1 and not self.shift.any()

    def then(self, other: Affine) -> Affine:
        """This one, and `other` of what it gives."""
        return Affine(other.scale * self.scale, other.scale * self.shift + other.shift)


def affine_of(layer: Any, args: tuple[Any, ...]) -> Affine | None:
    """What a layer or operation does to the one tensor that it gets; `None` if it is no sum or product with constants,
    one or one a channel.

    Args:
        layer: any.
        args: what it is called on.
    """
    if not is_known(layer):
        return None
    if isinstance(layer, keras.layers.Rescaling):
        return _affine(layer.scale, layer.offset)
    if isinstance(layer, keras.layers.Normalization):
        return _normalizing(layer)
    if (name := type(layer).__name__) not in _FORMS:
        return None
    constants = [_constant(argument) for argument in args]
    if [constant is None for constant in constants] not in ([True, False], [False, True]):
        return None
    first, second = constants
    found = _FORMS[name](second) if first is None else _TURNED[name](first)
    return _affine(*found) if found else None


def _affine(scale: Any, shift: Any) -> Affine | None:
    scale, shift = _constant(scale), _constant(shift)
    return None if scale is None or shift is None else Affine(scale, shift)


def _normalizing(layer: keras.layers.Normalization) -> Affine | None:
    """A `Normalization` divides by the deviation, but by no less than Keras' epsilon, or multiplies by it."""
    mean, variance = _constant(layer.mean), _constant(layer.variance)
    if mean is None or variance is None:  # along another axis
        return None
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    return Affine(deviation, mean) if layer.invert else Affine(1 / deviation, -mean / deviation)


_Form = Callable[[Any], tuple[Any, Any] | None]

_FORMS: dict[str, _Form] = {
    "Add": lambda constant: (1.0, constant),
    "Subtract": lambda constant: (1.0, -constant),
    "Multiply": lambda constant: (constant, 0.0),
    "Divide": lambda constant: (1 / constant, 0.0) if constant.all() else None,
    "TrueDivide": lambda constant: (1 / constant, 0.0) if constant.all() else None,
}
"""Operation -> scale and shift, given the constant after the tensor."""

_TURNED: dict[str, _Form] = _FORMS | {
    "Subtract": lambda constant: (-1.0, constant),
    "Divide": lambda _: None,
    "TrueDivide": lambda _: None,
}
"""The same, given the constant before it."""


def _constant(argument: Any) -> np.ndarray | None:
    """A number, or an array with at most one number a channel, as float64."""
    if isinstance(argument, keras.KerasTensor):
        return None
    if not (isinstance(argument, (int, float, list, tuple, np.ndarray, np.generic)) or keras.ops.is_tensor(argument)):
        return None
    if isinstance(argument, (list, tuple)) and not all(isinstance(item, (int, float, np.generic)) for item in argument):
        return None
    array = np.asarray(argument, np.float64)
    return array.reshape(-1) if array.size == (array.shape or (1,))[-1] else None
