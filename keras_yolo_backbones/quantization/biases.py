"""Bias correction: the shift that rounding and clipping leave in the mean of each channel, taken out of the bias.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), with means that
are measured instead of derived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.copies import copied
from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import watching
from keras_yolo_backbones.quantization.apply import planned
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.lower import tensor_names
from keras_yolo_backbones.quantization.ranges import Plan


def mean_shifts(graph: Graph, plan: Plan, images: Calibration) -> dict[str, tuple[float, ...]]:
    """Layer with a kernel -> what to add to its bias so that int8 leaves the mean of each output channel as it is.

    Each layer is measured alone: on the float network's input, rounded, against its float output. A layer that is
    called several times, or has no bias, has no entry.

    Args:
        graph: of the lowered model.
        plan: its ranges and kernels.
        images: that the means are over.
    """
    names = tensor_names(graph)
    return _shifts(graph, {node: _rounded(node, plan, names) for node in _correctable(graph)}, images)


def correct_kernels(primitive: keras.Model, images: Calibration) -> keras.Model:
    """Take the shift that rounding kernels to int8 leaves out of the biases, where activations stay as they are.

    Args:
        primitive: a lowered model; its biases are changed.
        images: that the means are over.
    """
    graph = read(primitive)
    shifts = _shifts(graph, {node: (_as_it_is, _with_rounded_kernel(node)) for node in _correctable(graph)}, images)
    for name, shift in shifts.items():
        kernel, bias = primitive.get_layer(name).get_weights()
        primitive.get_layer(name).set_weights([kernel, bias + np.float32(shift)])
    return primitive


def _correctable(graph: Graph) -> list[Node]:
    """Calls of layers that have a bias, and that are called once."""
    return [
        node
        for node in graph.nodes
        if type(node.layer) in QUANTIZED and graph.called_once(node.layer) and node.layer.use_bias
    ]


def _shifts(
    graph: Graph, forms: Mapping[Node, tuple[Callable[[Any], Any], keras.Layer]], images: Calibration
) -> dict[str, tuple[float, ...]]:
    """`mean_shifts`, given how each layer rounds its input, and itself with a rounded kernel."""
    if not forms:
        return {}
    count = len(forms)
    watched = watching(graph, [*(node.inputs[0] for node in forms), *(Value(node, 0) for node in forms)])

    @tf.function(autograph=False)
    def measure(batch: tf.Tensor) -> list[tf.Tensor]:
        tensors = watched(batch)
        sources = [quant(source) for source, (quant, _) in zip(tensors[:count], forms.values(), strict=True)]
        return [tf.reduce_mean(source, 0, keepdims=True) for source in sources] + [
            *map(_channel_means, tensors[count:])
        ]

    totals: list[Any] = [0.0] * (2 * count)
    for index in range(len(images)):
        found = measure(tf.constant(images[index]))
        totals = [total + value for total, value in zip(totals, found, strict=True)]
    means = [total / len(images) for total in totals]
    # A layer is affine: of the mean of its inputs it makes the mean of its outputs, in one call for all images.
    shifts = {}
    for (node, (_, layer)), source, output in zip(forms.items(), means[:count], means[count:], strict=True):
        shift = output - _channel_means(layer(source))
        shifts[node.layer.name] = tuple(float(value) for value in shift.numpy())
    return shifts


def _channel_means(tensor: Any) -> Any:
    return tf.reduce_mean(tensor, list(range(len(tensor.shape) - 1)))


def _as_it_is(tensor: Any) -> Any:
    return tensor


def _with_rounded_kernel(node: Node) -> keras.Layer:
    """The layer with a kernel in int8 from the smallest to the largest weight of each channel."""
    kind, _ = QUANTIZED[type(node.layer)]
    return copied(node.layer, kind, weights=node.layer.get_weights())


def _rounded(node: Node, plan: Plan, names: dict[Node, str]) -> tuple[keras.Layer, keras.Layer]:
    """The fake quantization of the input of a call, and the layer with a fake-quantized kernel."""
    kind, _ = QUANTIZED[type(node.layer)]
    return FakeQuant(*plan.range(names[node.inputs[0].node])), copied(
        node.layer, kind, weights=planned(plan, node.layer)
    )
