"""Layers without kernels whose integer operators round in ways of their own; in float they compute the same integers.

The rules were found by running files in LiteRT 2.3 with XNNPACK, as phones do, on all values that occur.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_yolo_backbones.blocks import MatMul
from keras_yolo_backbones.quantization.layers import PACKAGE, Rounding

_NUDGE = 2.0**-15
"""In steps: about the error of float32. Less would not decide a tie, more would decide what is only close to one."""


@keras.saving.register_keras_serializable(PACKAGE)
class RoundedAdd(Rounding, keras.layers.Add):
    """A sum of two whose ties are rounded up, as integers are.

    Scales that are multiples of each other are common (6/255 and 12/255 in a network with ReLU6). Then many sums are
    half way between two steps, and in float32 they are rounded to either side.

    Args:
        step: between the values that the sum is rounded to.
    """

    _own = ("step",)

    def __init__(self, *, step: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def call(self, inputs: Any) -> Any:
        return super().call(inputs) + self.step * _NUDGE


@keras.saving.register_keras_serializable(PACKAGE)
class RoundedAveragePooling2D(Rounding, keras.layers.AveragePooling2D):
    """An average whose ties are rounded away from the middle of the range, as AVERAGE_POOL_2D does.

    The operator divides the sum of the int8 numbers and rounds half away from zero. Of the averages of 2×2 values a
    quarter are ties.

    Args:
        step: between the values of the tensor.
        zero_point: the int8 number that means 0.
    """

    _own = ("step", "zero_point")

    def __init__(self, *args: Any, step: float, zero_point: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step, self.zero_point = step, zero_point

    def call(self, inputs: Any) -> Any:
        average = super().call(inputs)
        return average + ops.sign(average / self.step + self.zero_point) * (self.step * _NUDGE)


@keras.saving.register_keras_serializable(PACKAGE)
class RoundedLeakyReLU(Rounding, keras.layers.LeakyReLU):
    """A leaky ReLU between two scales whose two factors are whole multiples of 1/256, as XNNPACK's are.

    Args:
        input_step: between the values of the input.
        step: between the values that the output is rounded to.
    """

    _own = ("input_step", "step")

    def __init__(self, negative_slope: float = 0.3, *, input_step: float, step: float, **kwargs: Any) -> None:
        super().__init__(negative_slope, **kwargs)
        self.input_step, self.step = input_step, step

    def call(self, inputs: Any) -> Any:
        factors = [ops.round(256 * slope * self.input_step / self.step) / 256 for slope in (1.0, self.negative_slope)]
        numbers = ops.round(inputs / self.input_step)
        rounded = ops.floor(numbers * ops.where(numbers < 0, factors[1], factors[0]) + 0.5) * self.step
        exact = super().call(inputs)
        return exact + ops.stop_gradient(rounded - exact)


@keras.saving.register_keras_serializable(PACKAGE)
class RoundedMatMul(Rounding, MatMul):
    """A matrix product that is rounded as BATCH_MATMUL is: once or twice.

    XNNPACK has this operator only where 0 is 0 in the second factor, as `plan` makes it, and rounds once. LiteRT's own
    kernel multiplies sums of integers by a factor between ½ and 1, rounds, divides by a power of two, and rounds again.

    Args:
        input_steps: between the values of the two factors.
        step: between the values that the product is rounded to.
        zero_point: the int8 number that means 0 in the second factor.
    """

    _own = ("input_steps", "step", "zero_point")

    def __init__(self, *, input_steps: Sequence[float], step: float, zero_point: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_steps, self.step, self.zero_point = tuple(input_steps), step, zero_point

    def call(self, inputs: list[Any]) -> Any:
        exact = super().call(inputs)
        numbers = [ops.round(x / step) for x, step in zip(inputs, self.input_steps, strict=True)]
        first, second, result = map(_as_in_files, (*self.input_steps, self.step))
        sums = ops.cast(super().call(numbers), "float64")
        factor = first * second / result
        whole = _rounded_twice(sums, *math.frexp(factor)) if self.zero_point else ops.round(sums * factor)
        return exact + ops.stop_gradient(ops.cast(whole * self.step, exact.dtype) - exact)


def _as_in_files(step: float) -> float:
    return float(np.float32(step))


def _rounded_twice(sums: Any, factor: float, exponent: int) -> Any:
    """`sums` times `factor` times 2 to the power of `exponent`: halves go up the first time, away from 0 the second."""
    once = ops.floor(sums * factor + 0.5) * 2.0**exponent
    return ops.sign(once) * ops.floor(ops.abs(once) + 0.5)


SIMULATED = {
    keras.layers.Add: RoundedAdd,
    keras.layers.AveragePooling2D: RoundedAveragePooling2D,
    keras.layers.LeakyReLU: RoundedLeakyReLU,
    MatMul: RoundedMatMul,
}
"""Layer of a lowered model -> the layer that rounds as its operator does."""

UNROUNDED = {rounded: plain for plain, rounded in SIMULATED.items()}
"""The same, the other way."""


def unrounded(layer: Any) -> keras.Layer:
    """A copy of a layer of `UNROUNDED` that rounds nothing."""
    kind: Any = UNROUNDED[type(layer)]
    return kind.from_config(layer.plain_config())
