"""What a fake-quantized model is made into: the form that converters accept, and the float network in it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.graph.copies import OnePerLayer, copied
from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.quantization.kernels import FLOAT
from keras_yolo_backbones.quantization.layers import Converted, FakeQuant, Log
from keras_yolo_backbones.quantization.simulated import UNROUNDED, unrounded


def integer_form(model: keras.Model) -> keras.Model:
    """A lowered or fake-quantized model in the form that converters accept.

    Layers with rounded kernels become plain layers that hold the rounded kernels. `Log` loses its floor, which an
    integer file has by itself. A float layer in an integer file needs a mark: the model gets a `ceil` where an integer
    tensor becomes float, and after each output. The converter has no integer form of `ceil`, so it computes what
    follows in float; `passing.finished` then removes the `ceil` from the file.
    """
    once = OnePerLayer()

    def rule(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(node.layer, Log):
            return Log(floor=0.0, name=node.layer.name)(args[0])
        if type(node.layer) in UNROUNDED:
            return once(node.layer, lambda: unrounded(node.layer))(args[0])
        if isinstance(node.layer, Converted):
            return keras.ops.ceil(args[0]) if node.layer.to == "float32" else args[0]
        if type(node.layer) not in FLOAT:
            return NotImplemented
        return once(node.layer, lambda: plain_layer(node.layer))(*args, **kwargs)

    plain = rebuild(read(model), rule)
    if not conversions(model)["float32"]:
        return plain
    marked = keras.Model(plain.input, keras.tree.map_structure(keras.ops.ceil, plain.output), name=plain.name)
    marked.output_names = plain.output_names
    return marked


def float_form(model: keras.Model) -> keras.Model:
    """The float network in a fake-quantized model: its weights as they are, and nothing rounded."""
    once = OnePerLayer()

    def rule(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(node.layer, (FakeQuant, Converted)):
            return args[0]
        if type(node.layer) in UNROUNDED:
            return once(node.layer, lambda: unrounded(node.layer))(args[0])
        if type(node.layer) not in FLOAT:
            return NotImplemented
        return once(node.layer, lambda: plain_layer(node.layer, rounded=False))(*args, **kwargs)

    return rebuild(read(model), rule)


def plain_layer(layer: Any, *, rounded: bool = True) -> keras.Layer:
    """The float layer of a layer of `FLOAT`, with the weights that it computes with, or with those before rounding."""
    weights = layer.rounded_weights() if rounded else layer.get_weights()
    return copied(layer, FLOAT[type(layer)], weights=weights, config=layer.plain_config())


def is_fake_quantized(model: Any) -> bool:
    """Whether the model came from `quantize_aware`."""
    return any(isinstance(layer, FakeQuant) for layer in getattr(model, "layers", ()))


def fake_ranges(model: keras.Model) -> list[tuple[float, float]]:
    """The ranges of a fake-quantized model, as training left them."""
    ends = [np.asarray(layer.range) for layer in model.layers if isinstance(layer, FakeQuant)]
    return [(float(low), float(high)) for low, high in ends]


def conversions(model: keras.Model) -> dict[str, int]:
    """How many tensors become `"float32"` and how many `"int8"` within; none but in what `quantize_aware` made."""
    kinds = [layer.to for layer in model.layers if isinstance(layer, Converted)]
    return {to: kinds.count(to) for to in ("float32", "int8")}


def float_layers(model: keras.Model) -> list[str]:
    """The layers of a model from `quantize_aware` that are computed in float, in order."""
    if not conversions(model)["float32"]:
        return []
    found: dict[Node, str] = {}
    for node in read(model).nodes:
        if isinstance(node.layer, Converted):
            continue
        if any(_gives_float(value.node) or value.node in found for value in node.inputs):
            found[node] = node.name
    return list(found.values())


def _gives_float(node: Node) -> bool:
    return isinstance(node.layer, Converted) and node.layer.to == "float32"
