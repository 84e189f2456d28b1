"""What every layer of one network has in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from keras_yolo_backbones.errors import one_of

ACTIVATIONS: dict[str, Callable[..., keras.Layer]] = {
    "silu": lambda **kw: keras.layers.Activation("silu", **kw),
    "relu": lambda **kw: keras.layers.ReLU(**kw),
    "relu6": lambda **kw: keras.layers.ReLU(max_value=6.0, **kw),
    "leaky_relu": lambda **kw: keras.layers.LeakyReLU(negative_slope=0.1, **kw),
    "mish": lambda **kw: keras.layers.Activation("mish", **kw),
    "hard_swish": lambda **kw: keras.layers.Activation("hard_swish", **kw),
    "gelu": lambda **kw: keras.layers.Activation("gelu", **kw),
}
"""Every activation a backbone takes, by name. `leaky_relu` has the slope 0.1 of all YOLO networks."""


_ALIASES = {"swish": "silu"}


def check_activation(name: str) -> str:
    """The key of `ACTIVATIONS` that `name` is or means; `ArgumentError` if it is none."""
    name = _ALIASES.get(name, name)
    if name not in ACTIVATIONS:
        raise one_of("activation", name, ACTIVATIONS)
    return name


@dataclasses.dataclass(frozen=True)
class Style:
    """Activation, batch normalization and dtype of a network.

    Attributes:
        activation: key of `ACTIVATIONS`.
        epsilon: batch normalization's epsilon. It is part of the trained function and stored in no state dict.
        momentum: batch normalization's momentum, Keras' convention (1 − torch's).
        synchronized: batch statistics over all replicas.
        dtype: a Keras dtype policy or its name; `None` is the global policy.
        stem_stride: stride of the first layer that halves the images: 2, or 1 where the user wants maps twice as large.
        forced: the user chose the activation: it also replaces an activation that the original has in some blocks only.
    """

    activation: str = "silu"
    epsilon: float = 1e-3
    momentum: float = 0.97
    synchronized: bool = False
    dtype: Any = None
    forced: bool = False
    stem_stride: int = 2

    def activated(self, activation: str) -> Style:
        """The same style with the activation that the original has in one part, unless the user forced his own."""
        return self if self.forced else dataclasses.replace(self, activation=activation)

    def activate(self, x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
        """Apply the activation; shape and dtype stay."""
        return ACTIVATIONS[self.activation](name=name, dtype=self.dtype)(x)

    def normalize(self, x: keras.KerasTensor, *, name: str) -> keras.KerasTensor:
        """Batch normalization over the last axis; shape stays."""
        # Under JAX, batch statistics of sharded data are global already, and `synchronized=True` is refused.
        synchronized = self.synchronized and keras.backend.backend() != "jax"
        return keras.layers.BatchNormalization(
            epsilon=self.epsilon, momentum=self.momentum, synchronized=synchronized, name=name, dtype=self.dtype
        )(x)
