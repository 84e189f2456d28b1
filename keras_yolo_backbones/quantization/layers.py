"""The layers of a fake-quantized model that round tensors or mark them.

Layers with kernels are in `kernels`, layers that round as an operator does are in `simulated`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

PACKAGE = "keras_yolo_backbones"

_SPEED = 100.0
"""How many times faster than weights the learned ends of a range move."""


class Rounding:
    """What layers share that take the place of a plain layer and round as its integer operator does."""

    _own: tuple[str, ...]
    """The arguments that the plain layer lacks."""

    def get_config(self) -> dict[str, Any]:
        return self.plain_config() | {name: getattr(self, name) for name in self._own}

    def plain_config(self) -> dict[str, Any]:
        """The config of the layer that this one is without rounding."""
        return super().get_config()  # type: ignore[misc]


@keras.saving.register_keras_serializable(PACKAGE)
class FakeQuant(keras.layers.Layer):
    """Rounds a tensor to the 256 values that int8 has for a range; gradients pass through inside the range.

    All tensors that it is called on share one scale. The range is part of the weights.

    Args:
        low: the smallest value, at most 0.
        high: the largest value, at least 0 and above `low`.
        learn: whether training moves the two ends of the range: a hundred times as fast as weights, and in units of
            its width, for a step that is right for weights of 0.01 would not move a range of 10.
        symmetric: whether zero stays in the middle of a range that training moves.
        outputs: number of a call -> the model's output that it makes, where Keras would call that after this layer.
    """

    def __init__(
        self,
        low: float,
        high: float,
        *,
        learn: bool = False,
        symmetric: bool = False,
        outputs: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.outputs = dict(outputs or {})
        self.low, self.high, self.learn, self.symmetric = float(low), float(high), learn, symmetric
        ends = _Values((self.low, self.high))
        self.start = self.add_weight(name="range", shape=(2,), initializer=ends, trainable=False, dtype="float32")
        self.shift = None
        if learn:
            self.shift = self.add_weight(name="shift", shape=(2,), initializer="zeros", dtype="float32")

    @property
    def range(self) -> Any:
        """(smallest, largest value), a tensor."""
        ends = ops.convert_to_tensor(self.start)
        if self.shift is None:
            return ends
        width = ends[1] - ends[0]
        moved = ends + _SPEED * width * self.shift
        if self.symmetric:
            high = ops.maximum(moved[1], 0.005 * width)
            return ops.stack([-high * (128 / 127), high])
        low = ops.minimum(moved[0], 0.0)
        return ops.stack([low, ops.maximum(ops.maximum(moved[1], 0.0), low + 0.01 * width)])

    def call(self, x: Any) -> Any:
        ends = self.range
        return fake_quant_with_min_max_vars(x, ends[0], ends[1])

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "low": self.low,
            "high": self.high,
            "learn": self.learn,
            "symmetric": self.symmetric,
            **({"outputs": dict(self.outputs)} if self.outputs else {}),
        }


@keras.saving.register_keras_serializable(PACKAGE)
class Converted(keras.layers.Layer):
    """Marks where the file converts a tensor; changes nothing.

    Args:
        to: `"float32"`, after an integer tensor, or `"int8"`, after a float one that is rounded next.
    """

    def __init__(self, to: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to = to

    def call(self, x: Any) -> Any:
        return x

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"to": self.to}


@keras.saving.register_keras_serializable(PACKAGE)
class _Values(keras.initializers.Initializer):
    """Fixed values."""

    def __init__(self, values: Any) -> None:
        self.values = list(values)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        return ops.reshape(ops.convert_to_tensor(self.values, dtype=dtype), shape)

    def get_config(self) -> dict[str, Any]:
        return {"values": self.values}


@keras.saving.register_keras_serializable(PACKAGE)
class Log(keras.layers.Layer):
    """Natural logarithm of the output of a sigmoid.

    Args:
        floor: smaller inputs count as this: int8 has nothing between 0 and 1/256, and 0 would have no logarithm.
    """

    def __init__(self, *, floor: float = 1 / 512, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.floor = floor

    def call(self, x: Any) -> Any:
        return ops.log(ops.maximum(x, self.floor) if self.floor else x)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"floor": self.floor}
