"""Folding a constant factor into the convolution or dense layer before it: attention's 1/√d, a trained scale."""

from __future__ import annotations

import keras
import numpy as np

from keras_yolo_backbones.blocks import LearnedScale
from keras_yolo_backbones.graph.fold import Replacement, folded, folds_into, pass_through
from keras_yolo_backbones.graph.ir import Graph, Node


def factors_after_convs(graph: Graph) -> dict[Node, Replacement]:
    """The rule: a `Rescaling` or `LearnedScale` with a convolution of its own before it goes into that convolution."""
    found: dict[Node, Replacement] = {}
    for node in graph.nodes:
        if type(node.layer) not in (keras.layers.Rescaling, LearnedScale) or not graph.called_once(node.layer):
            continue
        conv = node.inputs[0].node
        if not folds_into(graph, conv, node) or getattr(conv.layer, "data_format", None) == "channels_first":
            continue
        channels = conv.layer.output.shape[-1]
        scale, shift = (np.asarray(part, np.float64) for part in _affine(node.layer))
        if {scale.size, shift.size} <= {1, channels}:
            scale, shift = (np.broadcast_to(part.ravel(), channels) for part in (scale, shift))
            found[node] = pass_through
            found[conv] = folded(conv.layer, graph.label(conv), scale, shift)
    return found


def _affine(layer: keras.Layer) -> tuple[object, object]:
    """Scale and shift of the layer, one number or one a channel."""
    return (layer.scale, layer.offset) if isinstance(layer, keras.layers.Rescaling) else (layer.scale, 0.0)
