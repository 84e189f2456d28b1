"""Quantization-aware training with tensorflow-model-optimization: the tf_keras twin, annotated from a plan."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import tree

from keras_yolo_backbones.graph.ir import Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.signature import ImageInput, largest_stride
from keras_yolo_backbones.graph.twin import build_twin
from keras_yolo_backbones.preprocessing import Preprocessing, for_channels
from keras_yolo_backbones.provenance import get_provenance, set_provenance
from keras_yolo_backbones.quantization.apply import planned
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.lower import tensor_names
from keras_yolo_backbones.quantization.ranges import Plan
from keras_yolo_backbones.quantization.scales import Scales

_LEGACY = "TF_USE_LEGACY_KERAS"


def toolbox() -> Any:
    """`parts`, imported without keeping the environment variable that the toolbox sets."""
    before = os.environ.get(_LEGACY)
    try:
        from keras_yolo_backbones.quantization.tfmot import parts
    finally:
        if before is None:
            os.environ.pop(_LEGACY, None)
        else:
            os.environ[_LEGACY] = before
    return parts


def apply_tfmot(plan: Plan, primitive: keras.Model, preprocessing: Preprocessing) -> Any:
    """Put a plan into the tf_keras twin of a lowered model, through `quantize_annotate_layer` and `quantize_apply`.

    Args:
        plan: made for this model.
        primitive: from `lower`.
        preprocessing: what the model takes.

    Returns:
        A `tf_keras.Model` with the same inputs and output names.

    Raises:
        CalibrationError: the plan lacks a tensor or kernel of the model.
        GraphError: a layer that tf_keras lacks, such as those of attention, named.
    """
    import tf_keras

    parts = toolbox()
    annotate = parts.tfmot.quantization.keras.quantize_annotate_layer
    graph = read(primitive)
    scales, names = Scales(graph, preprocessing.range), tensor_names(graph)
    conversions: dict[Any, Any] = {}

    def quantized(node: Node) -> tuple[float, float]:
        return plan.range(names[node])

    def wrap(layer: Any, node: Node) -> Any:
        output = None if scales.absorbed(node) or not scales.rounds(node) else quantized(node)
        axes = QUANTIZED[type(node.layer)][1] if type(node.layer) in QUANTIZED else None
        return annotate(layer, parts.PlannedConfig(output, axes)) if output or axes else layer

    def convert(tensor: Any, node: Node, name: str) -> Any:
        if name not in conversions:
            identity = tf_keras.layers.Activation("linear", name=name)
            conversions[name] = annotate(identity, parts.PlannedConfig(quantized(node)))(tensor)
        return conversions[name]

    def enter(node: Node, value: Value, tensor: Any) -> Any:
        if isinstance(value.node.layer, keras.layers.InputLayer):
            tensor = convert(tensor, value.node, f"{names[value.node]}.quant")
        if scales.converts(node)[node.inputs.index(value)]:
            tensor = convert(tensor, node, f"{names[value.node]}.for.{names[node]}")
        return tensor

    inputs, outputs = build_twin(graph, wrap=wrap, enter=enter, weights=lambda layer: planned(plan, layer))
    # The toolbox reads a model's outputs as a list.
    flat = tf_keras.Model(inputs, tree.flatten(outputs))
    with parts.tfmot.quantization.keras.quantize_scope(parts.OBJECTS):
        aware = parts.tfmot.quantization.keras.quantize_apply(flat, scheme=parts.AsAnnotated())
    model = tf_keras.Model(aware.input, tree.pack_sequence_as(outputs, aware.outputs), name=graph.name)
    set_provenance(model, get_provenance(primitive))
    model._kyb_preprocessing = preprocessing
    return model


def is_tfmot(model: Any) -> bool:
    """Whether the model came from `apply_tfmot`; imports nothing to find out."""
    if type(model).__module__.split(".")[0] != "tf_keras":
        return False
    configs = (getattr(layer, "quantize_config", None) for layer in model.layers)
    return any(type(config).__name__ == "PlannedConfig" for config in configs)


def tfmot_input(model: Any) -> ImageInput:
    """The image input of such a model."""
    (tensor,) = model.inputs
    shape, preprocessing = tuple(tensor.shape[1:]), getattr(model, "_kyb_preprocessing", None)
    if preprocessing is None:  # a copy that tf_keras made
        first = next(layer for layer in model.layers if layer.name == f"quant_{model.input_names[0]}.quant")
        preprocessing = dataclasses.replace(for_channels(shape[-1]), largest=first.quantize_config.output[1])
    return ImageInput(model.input_names[0], shape, preprocessing, largest_stride(model))


def tfmot_function(model: Any, images: tf.TensorSpec) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Such a model in the form that the TFLite converter accepts: rounded kernels are constants."""
    parts = toolbox()

    @tf.function(input_signature=[images], autograph=False)
    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        with parts.kernels_as_constants():
            return {name: tf.cast(tensor, tf.float32) for name, tensor in model(images, training=False).items()}

    return call
