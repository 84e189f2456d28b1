"""Bias correction: the shift that rounding and clipping leave in the mean of each channel, taken out of the bias.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), with means that
are measured instead of derived.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.ir import Graph, Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import watching
from keras_yolo_backbones.quantization.apply import planned
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.kernels import QUANTIZED, fake_quantized
from keras_yolo_backbones.quantization.lower import tensor_names
from keras_yolo_backbones.quantization.ranges import Plan, Range


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
    forms = {node: _planned_form(node, plan.range(names[node.inputs[0].node]), plan) for node in _correctable(graph)}
    return _shifts(graph, forms, images)


def correct_kernels(primitive: keras.Model, images: Calibration) -> keras.Model:
    """Take the shift that rounding kernels to int8 leaves out of the biases, where activations stay as they are.

    Args:
        primitive: a lowered model; its biases are changed.
        images: that the means are over.
    """
    graph = read(primitive)
    shifts = _shifts(
        graph, {node: _Form(None, _rounded(node.layer.get_weights()[0], node)) for node in _correctable(graph)}, images
    )
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


class _Form(NamedTuple):
    """A call as an integer file computes it.

    Attributes:
        range: what the input is rounded to; `None` leaves it as it is.
        kernel: the rounded kernel.
    """

    range: Range | None
    kernel: Any


def _planned_form(node: Node, bounds: Range, plan: Plan) -> _Form:
    return _Form(bounds, _rounded(planned(plan, node.layer)[0], node))


def _rounded(kernel: np.ndarray, node: Node) -> Any:
    _, axes = QUANTIZED[type(node.layer)]
    return fake_quantized(tf.constant(kernel), axes)


def _shifts(graph: Graph, forms: Mapping[Node, _Form], images: Calibration) -> dict[str, tuple[float, ...]]:
    """`mean_shifts`, given how a file computes each call."""
    if not forms:
        return {}
    count = len(forms)
    watched = watching(graph, [*(node.inputs[0] for node in forms), *(Value(node, 0) for node in forms)])

    @tf.function(autograph=False)
    def measure(batch: tf.Tensor) -> list[tf.Tensor]:
        tensors = watched(batch)
        sources = zip(tensors[:count], forms.values(), strict=True)
        return [
            *(_fake_quantized(tensor, form.range) for tensor, form in sources),
            *(_channel_means(tensor) for tensor in tensors[count:]),
        ]

    totals: list[Any] = [0.0] * (2 * count)
    for index in range(len(images)):
        found = measure(tf.constant(images[index]))
        totals = [total + value for total, value in zip(totals, found, strict=True)]
    means = [total / len(images) for total in totals]
    # A layer is affine: of the mean of its inputs it makes the mean of its outputs, in one call for all images.
    shifts = {}
    for (node, form), source, output in zip(forms.items(), means[:count], means[count:], strict=True):
        with keras.StatelessScope(state_mapping=[(node.layer.weights[0], form.kernel)]):
            shift = output - _channel_means(node.layer(source))
        shifts[node.layer.name] = tuple(float(value) for value in shift.numpy())
    return shifts


def _fake_quantized(tensor: tf.Tensor, bounds: Range | None) -> tf.Tensor:
    return tensor if bounds is None else tf.quantization.fake_quant_with_min_max_args(tensor, *bounds)


def _channel_means(tensor: Any) -> Any:
    return tf.reduce_mean(tensor, list(range(len(tensor.shape) - 1)))
