"""Where an int8 file loses signal: its tensors against those of the float model, layer by layer and level by level."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.agreement import Agreement, agreement
from keras_yolo_backbones.graph.ir import Node, Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import run, watching
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.calibration import calibration_images
from keras_yolo_backbones.quantization.int8_files import Int8File, open_int8
from keras_yolo_backbones.quantization.integer_form import float_form, is_fake_quantized
from keras_yolo_backbones.quantization.losses import LayerLoss, Report
from keras_yolo_backbones.quantization.lower import lower, tensor_names

MOST = 16
"""Images that a report is made from, of those given."""


def report(model: keras.Model, int8_file: str | os.PathLike[str], images: Any) -> Report:
    """Compare an int8 file with the float network that it was made from.

    Args:
        model: the float model; or the fake-quantized model that was trained and exported, to compare with its weights
            before rounding. After training with labels only that shows what int8 costs.
        int8_file: a `.tflite` or `.onnx` file of it, by post-training quantization or by quantization-aware training.
            Of an ONNX file, layers that stay float are left out, and conversions are its QuantizeLinear operators.
        images: as calibration images; better others than those that the ranges come from.

    Raises:
        ArgumentError: the file is none of this model.
        CalibrationError: images that cannot be used.
        ExportError: the file is no TFLite or ONNX file.
    """
    check_model(model)
    reference = "float model"
    if is_fake_quantized(model):
        model, reference = float_form(model), "trained network"
    path = Path(int8_file)
    file = open_int8(path)
    signature = image_input(model)
    samples = calibration_images(
        images, shape=file.input_shape, preprocessing=signature.preprocessing, fewest=1, most=MOST
    )
    graph = read(lower(model))
    names = tensor_names(graph)
    tensors = file.tensors(set(names.values()))
    nodes = [node for node in graph.nodes if names[node] in tensors]
    seen = [node for node in nodes if not isinstance(node.layer, keras.layers.InputLayer)]
    if not seen:
        raise ArgumentError(
            f"{path.name} has no tensor that is called like a layer of {model.name!r}: is it of a different model?"
        )
    watched = watching(graph, [Value(node, 0) for node in seen])
    floats = _joined([[np.asarray(t) for t in watched(image)] for image in samples])
    details = [tensors[names[node]] for node in seen]
    integers = _joined([file.values(details, image) for image in samples])
    found = {
        node: (agreement(a, _aligned(a, b)), tensors[names[node]], _outside(a, tensors[names[node]]))
        for node, a, b in zip(seen, floats, integers, strict=True)
    }
    layers = [_loss(node, names[node], found) for node in seen]
    levels = _levels(model, file, samples)
    return Report(path.name, reference, len(samples), levels, layers, path.stat().st_size, file.conversions)


def _loss(node: Node, name: str, found: dict[Node, tuple[Agreement, dict[str, Any], float]]) -> LayerLoss:
    own, tensor, outside = found[node]
    weakest = min((found[source][0].snr_db for source in _measured(node, found)), default=math.inf)
    return LayerLoss.of(name, own, weakest, outside, np.dtype(tensor["dtype"]).name)


def _measured(node: Node, found: dict[Node, Any]) -> list[Node]:
    """The nearest measured nodes before `node`."""
    sources: list[Node] = []
    for value in node.inputs:
        sources += [value.node] if value.node in found else _measured(value.node, found)
    return sources


def _levels(model: keras.Model, file: Int8File, samples: Sequence[np.ndarray]) -> dict[str, Agreement]:
    pairs = [(run(model, image), file(image)) for image in samples]
    return {
        name: agreement(*(np.concatenate([pair[side][name] for pair in pairs]) for side in (0, 1)))
        for name in pairs[0][0]
    }


def _aligned(floats: np.ndarray, integers: np.ndarray) -> np.ndarray:
    """A file's tensor with its axes in the model's order: ONNX files have the channels of maps first."""
    turned = [integers, integers.transpose(0, 2, 3, 1)] if integers.ndim == 4 else [integers]
    fitting = [candidate for candidate in turned if candidate.shape == floats.shape]
    if not fitting:
        return integers.reshape(floats.shape)
    return max(fitting, key=lambda candidate: agreement(floats, candidate).snr_db)


def _joined(images: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(tensors) for tensors in zip(*images, strict=True)]


def _outside(values: np.ndarray, tensor: dict[str, Any]) -> float:
    """Share of the values that int8 cuts off: beyond half a step outside the range."""
    if tensor["dtype"] == np.float32:
        return 0.0
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    low, high = ((limit - zero_point) * scale for limit in (limits.min - 0.5, limits.max + 0.5))
    return float(np.mean((values < low) | (values > high)))
