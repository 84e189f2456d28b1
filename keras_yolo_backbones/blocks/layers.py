"""What no layer of Keras can say: the only layers that are our own, so that a file with them needs this package."""

from __future__ import annotations

import math
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError

_register = keras.saving.register_keras_serializable(package="keras_yolo_backbones")


@_register
class MatMul(keras.layers.Layer):
    """Matrix product over the last two axes: [(…, n, k), (…, k, m)] -> (…, n, m). No weights.

    Args:
        transpose: take the second factor as (…, m, k) instead.
    """

    def __init__(self, *, transpose: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.transpose = transpose

    def call(self, inputs: list[Any]) -> Any:
        a, b = inputs
        return keras.ops.matmul(a, keras.ops.swapaxes(b, -1, -2) if self.transpose else b)

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        a, b = input_shape
        return (*a[:-1], b[-2] if self.transpose else b[-1])

    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return math.prod(self.output.shape[1:]) * self.input[0].shape[-1]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"transpose": self.transpose}


@_register
class ReshapeLike(keras.layers.Layer):
    """[x, like] -> the elements of `x` in the shape that `like` has at run time. No weights.

    `keras.layers.Reshape` cannot restore two sizes that are open.
    """

    def call(self, inputs: list[Any]) -> Any:
        x, like = inputs
        return keras.ops.reshape(x, keras.ops.shape(like))

    def compute_output_shape(self, input_shape: list[Any]) -> tuple[int | None, ...]:
        return tuple(input_shape[1])


@_register
class SplitAreas(keras.layers.Layer):
    """(batch, heads, cells, channels) -> (batch, heads · areas, cells / areas, channels), runs of cells. No weights.

    `keras.layers.Reshape` does the same; this one says what to do when an image of a wrong size comes in.

    Args:
        areas: how many.
    """

    def __init__(self, areas: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.areas = areas

    def call(self, x: Any) -> Any:
        batch, heads, cells, channels = keras.ops.shape(x)
        if isinstance(cells, int) and cells % self.areas:
            raise ArgumentError(
                f"a map of {cells} cells cannot be cut into {self.areas} equal areas; "
                "pass images whose height and width are multiples of 32."
            )
        return keras.ops.reshape(x, (batch, heads * self.areas, -1, channels))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        batch, heads, cells, channels = input_shape
        return (batch, heads * self.areas, None if cells is None else cells // self.areas, channels)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"areas": self.areas}


@_register
class LearnedScale(keras.layers.Layer):
    """x -> scale · x with a trained `scale`: one number, or one a channel.

    Args:
        channels: length of `scale`: 1, or the channels of `x`.
        initial: its value before training.
    """

    def __init__(self, *, channels: int = 1, initial: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.channels = channels
        self.initial = initial

    def build(self, _: Any) -> None:
        self.scale = self.add_weight(
            name="scale", shape=(self.channels,), initializer=keras.initializers.Constant(self.initial)
        )

    def call(self, x: Any) -> Any:
        return x * self.scale

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"channels": self.channels, "initial": self.initial}
