"""Fake quantization on its way through tf2onnx: one marked operator a tensor, which Transposes are pushed through."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.graph.copies import OnePerLayer
from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.quantization.integer_form import plain_layer
from keras_yolo_backbones.quantization.kernels import FLOAT
from keras_yolo_backbones.quantization.layers import Converted, FakeQuant
from keras_yolo_backbones.quantization.lower import tensor_names
from keras_yolo_backbones.quantization.simulated import UNROUNDED, unrounded

MARK = "Selu"
"""What a mark is called in the converted graph: an operator that no quantized network has, that tf2onnx moves
Transposes through, and that has two float attributes, here the ends of the range."""


class Mark(keras.layers.Layer):
    """The rounding of one tensor to int8, called like the tensor; without a range it marks where a float layer begins.

    Args:
        ends: (smallest, largest value) of the range.
    """

    def __init__(self, ends: tuple[float, float] | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ends = ends

    def call(self, x: Any) -> Any:
        low, high = self.ends or (-1.0, 1.0)
        return tf.quantization.fake_quant_with_min_max_args(x, low, high, narrow_range=self.ends is None)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def marked(aware: keras.Model) -> keras.Model:
    """A fake-quantized model with a `Mark` for each tensor that is rounded, rounded kernels, and plain layers.

    Args:
        aware: from `quantize_aware`; left untouched.
    """
    graph = read(aware)
    names = tensor_names(graph)
    once = OnePerLayer()
    used: Counter[str] = Counter()

    def mark(node: Node, ends: tuple[float, float] | None) -> Mark:
        name = f"{names[node.inputs[0].node]}.{'float' if ends is None else ROUNDED}"
        used[name] += 1
        return Mark(ends, name=f"{name}.{used[name]}")

    def rule(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = node.layer
        if isinstance(layer, Converted):
            return mark(node, None)(args[0]) if layer.to == "float32" else args[0]
        if type(layer) in UNROUNDED:
            return once(layer, lambda: unrounded(layer))(args[0])
        if isinstance(layer, FakeQuant):
            low, high = np.asarray(layer.range)
            return mark(node, (float(low), float(high)))(args[0])
        if type(layer) not in FLOAT:
            return NotImplemented
        return once(layer, lambda: plain_layer(layer))(*args, **kwargs)

    return rebuild(graph, rule)


ROUNDED = "rounded"


def keeping_marks() -> dict[str, Any]:
    """The `custom_op_handlers` for tf2onnx with which marks arrive as operators called `MARK`."""

    def convert(_: Any, node: Any, *__: Any) -> None:
        ends = [node.get_attr_value(end) for end in ("min", "max")]
        if node.get_attr_value("narrow_range"):
            ends.reverse()
        node.type = MARK
        for name, end in zip(("alpha", "gamma"), ends, strict=True):
            node.set_attr(name, float(end))

    return {"FakeQuantWithMinMaxArgs": (convert, [])}


def read_mark(node: Any) -> tuple[str, tuple[float, float] | None]:
    """The tensor that a `MARK` of an ONNX graph stands for, and its range; no range where a float layer begins."""
    ends = {attribute.name: attribute.f for attribute in node.attribute}
    tensor = re.sub(rf"\.(float|{ROUNDED})\.(\d+)(_\d+)?$", _counted, node.name.split("/")[-2])
    return tensor, (ends["alpha"], ends["gamma"]) if ends["alpha"] < ends["gamma"] else None


def _counted(found: re.Match[str]) -> str:
    return "" if found[2] == "1" else f".{found[2]}"
