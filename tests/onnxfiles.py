"""What the tests of int8 ONNX files share."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from quantized import trained_digits

import keras_yolo_backbones as kyb
from keras_yolo_backbones.litert import LiteModel

UINT8 = np.dtype(np.uint8)


def optimized(path, folder) -> Counter:
    """The operators that onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def shares(a, b, integers) -> dict[str, float]:
    """Output name -> share of the values of two files that are at most a step apart."""
    distances = {name: np.rint(np.abs(a[name] - b[name]) / integers[name]["scale"]) for name in a}
    return {name: float(np.mean(distance <= 1)) for name, distance in distances.items()}


class Digits:
    """The trained detector, fake-quantized, and its two files."""

    def __init__(self, make_digits, activation, folder):
        self.model = trained_digits(activation)
        self.plan = kyb.quantization.plan(self.model, make_digits(64, seed=1000, training=True).images, method="minmax")
        self.aware = kyb.quantize_aware(self.model, self.plan)
        self.onnx = kyb.export_onnx(self.aware, folder / "a.onnx")
        self.tflite = kyb.export_tflite(self.aware, folder / "a.tflite")
        self.images = np.float32(make_digits(16, seed=2000, training=False).images) / 255
        self.wanted = LiteModel(self.tflite.path)(self.images)


class Graph:
    """A file's operators by what they make, and its constants."""

    def __init__(self, graph):
        self.nodes = list(graph.node)
        self.makers = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def of(self, kind):
        return [node for node in self.nodes if node.op_type == kind]

    def value(self, node, position):
        """A constant that an operator takes."""
        return self.constants[node.input[position]]


def same(given, wanted) -> list[bool]:
    """Image by image, whether all integers of all outputs are the same."""
    count = len(next(iter(wanted.values())))
    return [all(np.allclose(given[name][i], wanted[name][i], atol=1e-4) for name in wanted) for i in range(count)]
