"""Folding a batch norm into the convolution or dense layer before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.graph.copies import copied
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.marks import unmarked

Replacement = Callable[[tuple[Any, ...]], Any]
"""Builds what replaces a call: positional arguments, as tensors of the new model -> outputs."""

_CHANNELS: dict[type, int] = {
    keras.layers.Conv1D: -1,
    keras.layers.Conv2D: -1,
    keras.layers.Conv3D: -1,
    keras.layers.Conv2DTranspose: -2,
    keras.layers.DepthwiseConv2D: -2,
    keras.layers.Dense: -1,
}
"""Layer that can take up a batch norm -> the axis of its kernel that runs over output channels."""


def norms_after_convs(graph: Graph) -> dict[Node, Replacement]:
    """The rule: each batch norm with a convolution of its own before it goes into that convolution."""
    found: dict[Node, Replacement] = {}
    for norm in graph.nodes:
        if not is_norm(graph, norm):
            continue
        conv = norm.inputs[0].node
        if folds_into(graph, conv, norm) and channel_axis(conv.layer, norm.layer) == norm_axis(norm.layer):
            found[norm] = pass_through
            found[conv] = folded(conv.layer, graph.label(conv), *affine(norm.layer))
    return found


def is_norm(graph: Graph, node: Node) -> bool:
    """Whether `node` is a batch norm that is the same affine map wherever the model is used for inference."""
    return (
        type(node.layer) is keras.layers.BatchNormalization
        and not node.kwargs.get("training")
        and graph.called_once(node.layer)
    )


def folds_into(graph: Graph, conv: Node, consumer: Node) -> bool:
    """Whether `conv` is linear, called once, and used by `consumer` alone, so that what follows can go into it."""
    return (
        type(conv.layer) in _CHANNELS
        and graph.only_consumer(conv) is consumer
        and graph.called_once(conv.layer)
        and conv.layer.activation is keras.activations.linear
    )


def norm_axis(norm: keras.layers.BatchNormalization) -> int:
    """The axis that `norm` normalizes, counted from the front."""
    return norm.axis % norm.input_spec.ndim


def channel_axis(conv: keras.Layer, norm: keras.layers.BatchNormalization) -> int:
    """The axis of the channels that `conv` puts out, counted from the front."""
    return 1 if getattr(conv, "data_format", "channels_last") == "channels_first" else norm.input_spec.ndim - 1


def pass_through(args: tuple[Any, ...]) -> Any:
    """Replaces a layer whose work the layer before it does."""
    return args[0]


def folded(conv: keras.Layer, name: str, scale: np.ndarray, shift: np.ndarray) -> Replacement:
    """A copy of `conv`, called `name`, that does scale · conv(x) + shift, one entry an output channel."""
    return with_weights(conv, name, fold(conv, scale, shift))


def with_weights(conv: keras.Layer, name: str, weights: list[np.ndarray]) -> Replacement:
    """A copy of `conv`, called `name`, that has this kernel and bias."""
    config = unmarked(conv.get_config())
    return lambda args: copied(conv, weights=weights, config=config, use_bias=True, name=name)(args[0])


def fold(conv: keras.Layer, scale: np.ndarray, shift: np.ndarray) -> list[np.ndarray]:
    """Kernel and bias of the layer that does scale · conv(x) + shift; computed in float64."""
    kernel, *rest = (np.asarray(weight, np.float64) for weight in conv.get_weights())
    bias = rest[0] if rest else 0.0
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        per_kernel = scale.reshape(kernel.shape[-2:])
    else:
        per_kernel = scale if _CHANNELS[type(conv)] == -1 else scale[:, np.newaxis]
    return [kernel * per_kernel, bias * scale + shift]


def affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm does at inference: y = scale · x + shift; float64, one entry a channel."""
    scale = 1 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = -np.asarray(norm.moving_mean, np.float64) * scale
    if norm.beta is not None:
        shift = shift + np.asarray(norm.beta, np.float64)
    return scale, shift
