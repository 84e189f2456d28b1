"""Kernels of 7 bits, for x86 processors without VNNI."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.export.onnx.weights import LARGEST
from keras_yolo_backbones.graph.copies import OnePerLayer, copied
from keras_yolo_backbones.graph.ir import Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.quantization.kernels import FLOAT, QUANTIZED

BITS = 7
"""Their instruction for uint8 times int8, vpmaddubsw, adds two products in 16 bits and cuts off what is beyond.
2 · 255 · 127 is, 2 · 255 · 63 is not. Source: Intel's instruction set reference; onnxruntime's documentation of
quantization advises `reduce_range` for the same reason."""


def with_reduced_kernels(aware: keras.Model) -> keras.Model:
    """A fake-quantized model whose kernels are rounded to `BITS` in place of 8; left untouched itself."""
    once = OnePerLayer()

    def rule(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if type(node.layer) not in FLOAT:
            return NotImplemented
        return once(node.layer, lambda: _reduced(node.layer))(*args, **kwargs)

    return rebuild(read(aware), rule)


def _reduced(layer: Any) -> keras.Layer:
    """The plain layer with the rounded kernel of a fake-quantized one."""
    kernel, *rest = layer.get_weights()
    channels = {axis % kernel.ndim for axis in QUANTIZED[FLOAT[type(layer)]][1]}
    others = tuple(axis for axis in range(kernel.ndim) if axis not in channels)
    steps = np.maximum(np.abs(kernel).max(axis=others, keepdims=True), np.float32(1e-9)) / np.float32(LARGEST[BITS])
    rounded = np.asarray(np.rint(kernel / steps) * steps, np.float32)
    return copied(layer, FLOAT[type(layer)], weights=[rounded, *rest], config=layer.plain_config())
