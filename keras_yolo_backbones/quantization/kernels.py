"""Layers with kernels that are rounded as an int8 file holds them; in float they compute what that does in integers."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

from keras_yolo_backbones.quantization.layers import PACKAGE, Rounding


class _Quantized(Rounding):
    """What the layers below share.

    In training the kernel is rounded, and the bias where its step is known. Otherwise, where all steps are known, the
    layer computes the operator's own numbers: sums of products of integers, one multiplication, one rounding. In float
    values the same sums would be off by 1e-4 of a step, which moves one value in ten thousand to the next step.

    Args:
        input_step: the step between neighbouring values of the input in int8. With it the bias, too, is rounded as the
            file holds it: to whole multiples of input step times kernel step. `None` leaves the bias exact.
        output_step: the same for the output.
    """

    _axes: tuple[int, ...]
    _own = ("input_step", "output_step")

    def __init__(
        self, *args: Any, input_step: float | None = None, output_step: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.input_step, self.output_step = input_step, output_step

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        kernel = fake_quantized(self.kernel, self._axes)  # type: ignore[attr-defined]
        if training or not (self.input_step and self.output_step) or self.compute_dtype != "float32":  # type: ignore[attr-defined]
            outputs = self._linear(inputs, kernel)
            return ops.add(outputs, self._rounded_bias(kernel)) if self.use_bias else outputs  # type: ignore[attr-defined]
        return self._as_integers(inputs, kernel)

    def _as_integers(self, inputs: Any, kernel: Any) -> Any:
        steps = self._kernel_steps()
        sums = self._linear(_whole(inputs / self.input_step), _whole(kernel / self._along_kernel(steps)))
        if self.use_bias:  # type: ignore[attr-defined]
            sums += self._bias_numbers(kernel)
        return _whole(sums * (self.input_step * steps / self.output_step)) * self.output_step

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        """The layer's own operation, without bias."""
        raise NotImplementedError

    def _kernel_steps(self) -> Any:
        return largest_weights(self.kernel, self._axes) / 127  # type: ignore[attr-defined]

    def _along_kernel(self, channels: Any) -> Any:
        """A vector of output channels in a shape that goes with the kernel's."""
        shape = self.kernel.shape  # type: ignore[attr-defined]
        own = [axis % len(shape) for axis in self._axes]
        return ops.reshape(channels, [side if axis in own else 1 for axis, side in enumerate(shape)])

    def _rounded_bias(self, kernel: Any) -> Any:
        bias = self.bias  # type: ignore[attr-defined]
        if not self.input_step:
            return bias
        rounded = ops.cast(self._bias_numbers(kernel) * (self.input_step * self._kernel_steps()), bias.dtype)
        return bias + ops.stop_gradient(rounded - bias)

    def _bias_numbers(self, kernel: Any) -> Any:
        """The bias in units of input step times kernel step, whole: divided in double precision, as converters do."""
        limits = largest_weights(kernel, self._axes)
        bias = self.bias  # type: ignore[attr-defined]
        numbers = ops.cast(bias, "float64") / (ops.cast(limits, "float64") / 127 * self.input_step)
        return ops.cast(_whole(numbers), bias.dtype)

    def rounded_weights(self) -> list[np.ndarray]:
        """The weights that it computes with: kernel, and bias if it has one."""
        kernel = fake_quantized(ops.convert_to_tensor(self.kernel), self._axes)  # type: ignore[attr-defined]
        weights = [kernel]
        if self.use_bias:  # type: ignore[attr-defined]
            weights.append(ops.convert_to_tensor(self._rounded_bias(kernel)))
        return [ops.convert_to_numpy(weight) for weight in weights]


def _whole(x: Any) -> Any:
    """`x` rounded; gradients pass through."""
    return x + ops.stop_gradient(ops.round(x) - x)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedConv2D(_Quantized, keras.layers.Conv2D):
    """Conv2D without activation, whose kernel is fake-quantized per filter."""

    _axes = (-1,)

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        return self.convolution_op(inputs, kernel)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedDepthwiseConv2D(_Quantized, keras.layers.DepthwiseConv2D):
    """DepthwiseConv2D without activation, whose kernel is fake-quantized per output channel."""

    _axes = (-2, -1)

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        return ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedConv2DTranspose(_Quantized, keras.layers.Conv2DTranspose):
    """Conv2DTranspose without activation, whose kernel is fake-quantized per filter."""

    _axes = (-2,)

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        return ops.conv_transpose(
            inputs,
            kernel,
            strides=list(self.strides),
            output_padding=self.output_padding,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedDense(_Quantized, keras.layers.Dense):
    """Dense layer without activation, whose kernel is fake-quantized per unit."""

    _axes = (-1,)

    def _linear(self, inputs: Any, kernel: Any) -> Any:
        return ops.matmul(inputs, kernel)


QUANTIZED: dict[type, tuple[type, tuple[int, ...]]] = {
    keras.layers.Conv2D: (QuantizedConv2D, (-1,)),
    keras.layers.DepthwiseConv2D: (QuantizedDepthwiseConv2D, (-2, -1)),
    keras.layers.Conv2DTranspose: (QuantizedConv2DTranspose, (-2,)),
    keras.layers.Dense: (QuantizedDense, (-1,)),
}
"""Layer -> its fake-quantized form, and the axes of its kernel that run over output channels."""

FLOAT = {quantized: plain for plain, (quantized, _) in QUANTIZED.items()}
"""Fake-quantized layer -> its float form."""


def fake_quantized(kernel: Any, axes: tuple[int, ...]) -> Any:
    """A kernel rounded to 255 values a channel, symmetric about 0; its largest weight sets the step.

    Args:
        kernel: float32.
        axes: the neighbouring axes that run over output channels.
    """
    flat, ordered, order = _channels_last(kernel, axes)
    limit = largest_weights(kernel, axes)
    flat = fake_quant_with_min_max_vars(flat, -limit, limit, narrow_range=True, axis=-1)
    ordered = ops.reshape(flat, ordered)
    return ops.transpose(ordered, [order.index(axis) for axis in range(len(order))])


def largest_weights(kernel: Any, axes: tuple[int, ...]) -> Any:
    """The largest absolute weight of each output channel, a vector; no gradient goes through it."""
    flat, *_ = _channels_last(kernel, axes)
    return ops.stop_gradient(ops.maximum(ops.max(ops.abs(flat), axis=0), 1e-9))


def _channels_last(kernel: Any, axes: tuple[int, ...]) -> tuple[Any, tuple[int, ...], list[int]]:
    """(weights, output channels), and the shape and order of axes of the kernel before it was made two-dimensional."""
    rank = len(kernel.shape)
    channels = [axis % rank for axis in axes]
    order = [axis for axis in range(rank) if axis not in channels] + channels
    shape = tuple(kernel.shape[axis] for axis in order)
    ordered = ops.transpose(kernel, order) if order != list(range(rank)) else kernel
    return ops.reshape(ordered, (-1, math.prod(shape[-len(channels) :]))), shape, order
