"""Layers with kernels that are rounded as an int8 file holds them; in float they compute what that does in integers."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops
from keras.quantizers import fake_quant_with_min_max_vars

from keras_yolo_backbones.quantization.layers import PACKAGE


class _Quantized:
    """What the layers below share.

    Args:
        input_step: the step between neighbouring values of the input in int8. With it the bias, too, is rounded as the
            file holds it: to whole multiples of input step times kernel step. `None` leaves the bias exact.
    """

    _axes: tuple[int, ...]

    def __init__(self, *args: Any, input_step: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.input_step = input_step

    def get_config(self) -> dict[str, Any]:
        return self.plain_config() | {"input_step": self.input_step}

    def plain_config(self) -> dict[str, Any]:
        """The config of the layer that this one is without rounding."""
        return super().get_config()  # type: ignore[misc]

    def _with_bias(self, outputs: Any) -> Any:
        if not self.use_bias:  # type: ignore[attr-defined]
            return outputs
        bias = self.bias  # type: ignore[attr-defined]
        if self.input_step:
            step = self.input_step * largest_weights(self.kernel, self._axes) / 127  # type: ignore[attr-defined]
            bias = bias + ops.stop_gradient(ops.round(bias / step) * step - bias)
        return ops.add(outputs, bias)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedConv2D(_Quantized, keras.layers.Conv2D):
    """Conv2D without activation, whose kernel is fake-quantized per filter."""

    _axes = (-1,)

    def call(self, inputs: Any) -> Any:
        return self._with_bias(self.convolution_op(inputs, fake_quantized(self.kernel, self._axes)))


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedDepthwiseConv2D(_Quantized, keras.layers.DepthwiseConv2D):
    """DepthwiseConv2D without activation, whose kernel is fake-quantized per output channel."""

    _axes = (-2, -1)

    def call(self, inputs: Any) -> Any:
        outputs = ops.depthwise_conv(
            inputs,
            fake_quantized(self.kernel, self._axes),
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._with_bias(outputs)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedConv2DTranspose(_Quantized, keras.layers.Conv2DTranspose):
    """Conv2DTranspose without activation, whose kernel is fake-quantized per filter."""

    _axes = (-2,)

    def call(self, inputs: Any) -> Any:
        outputs = ops.conv_transpose(
            inputs,
            fake_quantized(self.kernel, self._axes),
            strides=list(self.strides),
            output_padding=self.output_padding,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )
        return self._with_bias(outputs)


@keras.saving.register_keras_serializable(PACKAGE)
class QuantizedDense(_Quantized, keras.layers.Dense):
    """Dense layer without activation, whose kernel is fake-quantized per unit."""

    _axes = (-1,)

    def call(self, inputs: Any) -> Any:
        return self._with_bias(ops.matmul(inputs, fake_quantized(self.kernel, self._axes)))


QUANTIZED: dict[type, tuple[type, tuple[int, ...]]] = {
    keras.layers.Conv2D: (QuantizedConv2D, (-1,)),
    keras.layers.DepthwiseConv2D: (QuantizedDepthwiseConv2D, (-2, -1)),
    keras.layers.Conv2DTranspose: (QuantizedConv2DTranspose, (-2,)),
    keras.layers.Dense: (QuantizedDense, (-1,)),
}
"""Layer -> its fake-quantized form, and the axes of its kernel that run over output channels."""

FLOAT = {quantized: (plain, axes) for plain, (quantized, axes) in QUANTIZED.items()}
"""Fake-quantized layer -> its float form and those axes."""


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
