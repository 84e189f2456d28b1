"""Folding: every batch norm that follows a convolution becomes part of its kernel and bias."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.agreement import agreement, probe
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import functional, read
from keras_yolo_backbones.graph.rewrite import rebuild

TOLERANCE = {"float32": 1e-3, "float64": 1e-10, "bfloat16": 0.2, "float16": 0.05}
"""Largest error that the fused model may have, relative to the largest output, by compute dtype.

Rounding stays below 1e-5 on trained networks; deep ones with random weights may amplify it to 1e-4. A wrong rewrite is
off by 1e-1 and more.
"""

_CHANNELS: dict[type, int] = {
    keras.layers.Conv1D: -1,
    keras.layers.Conv2D: -1,
    keras.layers.Conv3D: -1,
    keras.layers.Conv2DTranspose: -2,
    keras.layers.DepthwiseConv2D: -2,
    keras.layers.Dense: -1,
}
"""Layer that can take up a batch norm -> the axis of its kernel that runs over output channels."""


def fuse(model: keras.Model) -> keras.Model:
    """Fold every batch norm into the convolution or dense layer before it.

    Works on any functional or sequential model: a backbone, or one with a neck and head on it; nested models are read
    through. A batch norm that has no such layer of its own before it stays. The new model is for inference and export.

    Args:
        model: left untouched.

    Returns:
        A new functional model with the same inputs, output names and numbers (checked on random inputs).

    Raises:
        GraphError: the model is not functional, holds a layer that cannot be rebuilt, or the fused model disagrees.
    """
    model = functional(model)
    fused = _fold(read(model))
    check_same(model, fused)
    return fused


def check_same(model: keras.Model, rewritten: keras.Model) -> None:
    """Raise `GraphError` unless both models give the same outputs, up to `TOLERANCE`, on random inputs."""
    inputs = probe(model)
    outputs, others = (keras.tree.flatten(m(inputs, training=False)) for m in (model, rewritten))
    for tensor, other in zip(outputs, others, strict=True):
        arrays = [keras.ops.convert_to_numpy(keras.ops.cast(t, "float32")) for t in (tensor, other)]
        error = agreement(*arrays).relative
        allowed = max(TOLERANCE.get(layer.compute_dtype, 0.0) for layer in [model, *model.layers])
        if not error <= allowed:
            raise GraphError(
                f"rewriting {model.name!r} changed its outputs by {error:.1e} of their largest value, more than "
                f"{allowed:.0e}; are its weights finite?"
            )


def _fold(graph: Graph) -> keras.Model:
    folded = {norm: conv for norm in graph.nodes if (conv := _foldable(graph, norm))}
    norm_of = {conv: norm for norm, conv in folded.items()}

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        if node in folded:
            return args[0]
        if node in norm_of:
            return _folded(node.layer, norm_of[node].layer, args[0], graph.label(node))
        return NotImplemented

    return rebuild(graph, rule)


def _foldable(graph: Graph, norm: Node) -> Node | None:
    """The convolution that can take up the batch norm `norm`, `None` if there is none."""
    if type(norm.layer) is not keras.layers.BatchNormalization or norm.kwargs.get("training"):
        return None
    conv = norm.inputs[0].node
    if (
        type(conv.layer) not in _CHANNELS
        or graph.only_consumer(conv) is not norm
        or not (graph.called_once(conv.layer) and graph.called_once(norm.layer))
        or conv.layer.activation is not keras.activations.linear
        or not _same_axis(conv.layer, norm.layer)
    ):
        return None
    return conv


def _same_axis(conv: keras.Layer, norm: keras.layers.BatchNormalization) -> bool:
    """Whether `norm` normalizes the channels that `conv` puts out."""
    rank = norm.input_spec.ndim
    channels = 1 if getattr(conv, "data_format", "channels_last") == "channels_first" else rank - 1
    return norm.axis % rank == channels


def _folded(conv: keras.Layer, norm: keras.layers.BatchNormalization, x: Any, name: str) -> Any:
    """Call a copy of `conv`, under `name`, on `x`; it has `norm` in its kernel and bias."""
    copy = type(conv).from_config(conv.get_config() | {"use_bias": True, "name": name})
    y = copy(x)
    kernel, bias = fold(conv, norm)
    copy.set_weights([kernel, bias])
    return y


def fold(conv: keras.Layer, norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of the one convolution that equals `conv` followed by `norm`; computed in float64."""
    kernel, *rest = (np.asarray(weight, np.float64) for weight in conv.get_weights())
    bias = rest[0] if rest else 0.0
    scale, shift = affine(norm)
    axis = _CHANNELS[type(conv)]
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        per_kernel = scale.reshape(kernel.shape[-2:])
    else:
        per_kernel = scale if axis == -1 else scale[:, np.newaxis]
    return kernel * per_kernel, bias * scale + shift


def affine(norm: keras.layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm does at inference: y = scale · x + shift; float64, one entry a channel."""
    scale = 1 / np.sqrt(np.asarray(norm.moving_variance, np.float64) + norm.epsilon)
    if norm.gamma is not None:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = -np.asarray(norm.moving_mean, np.float64) * scale
    if norm.beta is not None:
        shift = shift + np.asarray(norm.beta, np.float64)
    return scale, shift
