"""Learned rounding of a kernel: up or down, whichever lets the layer's surroundings follow the float network.

Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from keras_yolo_backbones.quantization.kernels import largest_weights

_LOW, _HIGH = -0.1, 1.1
"""The sigmoid is stretched to these and cut off at 0 and 1, so that it reaches them."""


class LearnedRounding:
    """The kernel of a fake-quantized layer, each weight between the two steps next to it.

    Args:
        layer: of `kernels`; its kernel is read now, and written by `harden`.
    """

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        kernel = np.asarray(layer.kernel, np.float64)
        limits = np.asarray(layer._along_kernel(largest_weights(layer.kernel, layer._axes)), np.float64)
        self._steps = tf.constant(limits / 127, tf.float32)
        numbers = kernel / (limits / 127)
        # The largest weights of a channel set its step; they are whole already, and stay.
        self._fixed = np.abs(numbers) > 126.99
        self._floor = np.where(self._fixed, np.rint(numbers), np.floor(numbers))
        share = np.clip((np.where(self._fixed, 0.5, numbers - self._floor) - _LOW) / (_HIGH - _LOW), 1e-4, 1 - 1e-4)
        self.variable = tf.Variable(np.log(share / (1 - share)), dtype=tf.float32)

    @property
    def share(self) -> tf.Tensor:
        """How far each weight is from the step below to the one above: in [0, 1]."""
        stretched = tf.sigmoid(self.variable) * (_HIGH - _LOW) + _LOW
        return tf.where(self._fixed, 0.0, tf.clip_by_value(stretched, 0.0, 1.0))

    def __call__(self, inputs: Any) -> Any:
        """What the layer computes with the kernel as it is now."""
        kernel = self._steps * (tf.constant(self._floor, tf.float32) + self.share)
        outputs = self.layer._linear(inputs, kernel)
        return outputs + self.layer.bias if self.layer.use_bias else outputs

    def undecided(self, power: tf.Tensor) -> tf.Tensor:
        """The mean over all weights of a term that is 0 where a share is 0 or 1, and 1 half way; sharper for small
        powers."""
        return tf.reduce_mean(1 - tf.abs(2 * self.share - 1) ** power)

    def harden(self) -> None:
        """Give the layer the kernel that was found: whole numbers of steps."""
        numbers = self._floor + (self.share.numpy() > 0.5)
        self.layer.kernel.assign(np.float32(numbers) * self._steps.numpy())
