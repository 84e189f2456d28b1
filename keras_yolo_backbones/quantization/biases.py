"""Bias correction: the shift that rounding and clipping leave in the mean of each channel, taken out of the bias.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019), with means that
are measured instead of derived.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.copies import copied
from keras_yolo_backbones.graph.ir import Graph, Node, Value
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
    nodes = [
        node
        for node in graph.nodes
        if type(node.layer) in QUANTIZED and graph.called_once(node.layer) and node.layer.use_bias
    ]
    if not nodes:
        return {}
    asked = [value for node in nodes for value in (node.inputs[0], Value(node, 0))]
    watched = watching(graph, asked)
    names = tensor_names(graph)
    rounded = [_rounded(node, plan, names) for node in nodes]

    @tf.function(autograph=False)
    def measure(batch: tf.Tensor) -> list[tf.Tensor]:
        tensors = watched(batch)
        shifts = []
        for position, (quant, layer) in enumerate(rounded):
            source, output = tensors[2 * position : 2 * position + 2]
            error = output - layer(quant(source))
            shifts.append(tf.reduce_mean(error, list(range(len(error.shape) - 1))))
        return shifts

    totals = [np.zeros(layer.bias.shape) for _, layer in rounded]
    for index in range(len(images)):
        totals = [
            total + shift.numpy() for total, shift in zip(totals, measure(tf.constant(images[index])), strict=True)
        ]
    return {
        node.layer.name: tuple(float(shift) for shift in total / len(images))
        for node, total in zip(nodes, totals, strict=True)
    }


def _rounded(node: Node, plan: Plan, names: dict[Node, str]) -> tuple[keras.Layer, keras.Layer]:
    """The fake quantization of the input of a call, and the layer with a fake-quantized kernel."""
    kind, _ = QUANTIZED[type(node.layer)]
    return FakeQuant(*plan.range(names[node.inputs[0].node])), copied(
        node.layer, kind, weights=planned(plan, node.layer)
    )
