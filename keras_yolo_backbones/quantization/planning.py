"""Making a plan: lower the model, find what shares a scale, run calibration images through it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.graph.ir import Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import keep, rebuild
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.calibration import calibration_images
from keras_yolo_backbones.quantization.kernels import QUANTIZED
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.lower import lower, tensor_names
from keras_yolo_backbones.quantization.observe import NARROWING, extremes, histograms, kernel_limits
from keras_yolo_backbones.quantization.ranges import Plan, balanced
from keras_yolo_backbones.quantization.scales import Scales

DEFAULT_METHOD = "minmax"


def plan(
    model: keras.Model,
    calibration: Any,
    *,
    method: str = DEFAULT_METHOD,
    image_size: int | tuple[int, int] | None = None,
    symmetric: bool = False,
) -> Plan:
    """The ranges that an integer version of `model` needs.

    Args:
        model: a float functional model with one image input: a backbone, or one with a neck and head. Untouched.
        calibration: representative images: a folder, an array or an iterable of batches; see `calibration_images`.
        method: of the ranges of activations: `"minmax"`, the smallest and largest value seen; `"percentile"`, which
            leaves out one value in 100 000 at either end; or `"mse"`, which clips where that gives the least squared
            error, kernels too.
        image_size: side or (height, width), for a model that leaves them open.
        symmetric: zero in the middle of every range, so that all zero points are 0, as TensorRT asks. One-sided tensors
            (images, ReLU) then have half as many steps. Sigmoid and softmax keep the scale that TFLite fixes.

    Raises:
        ArgumentError: an unknown method, or a model that is fake-quantized already.
        CalibrationError: calibration images that cannot be used.
        GraphError: a layer that quantization does not know, named.
    """
    return plan_lowered(lowered(model), model, calibration, method=method, image_size=image_size, symmetric=symmetric)


def lowered(model: keras.Model) -> keras.Model:
    """`lower(model)`, after seeing that it is a float model."""
    require_tensorflow()
    check_model(model)
    if any(isinstance(layer, FakeQuant) for layer in model.layers):
        raise ArgumentError(f"{model.name!r} is fake-quantized already; pass the float model.")
    return lower(model)


def plan_lowered(
    primitive: keras.Model,
    model: keras.Model,
    calibration: Any,
    *,
    method: str,
    image_size: int | tuple[int, int] | None,
    symmetric: bool = False,
) -> Plan:
    """`plan`, given what `lower` made of the model."""
    if method not in NARROWING:
        raise one_of("method", method, NARROWING)
    images = image_input(model)
    samples = calibration_images(calibration, shape=images.sized(image_size), preprocessing=images.preprocessing)
    graph = read(primitive)
    scales, names = Scales(graph, images.preprocessing.range, symmetric=symmetric), tensor_names(graph)
    kept = [node for node in graph.nodes if not scales.absorbed(node)]
    groups = {node: names[scales.group(node)] for node in kept}
    ranges = {groups[node]: fixed for node in kept if (fixed := scales.fixed(node))}
    seen = [node for node in kept if scales.rounds(node) and groups[node] not in ranges]
    watched = rebuild(graph, keep, outputs=[Value(node, 0) for node in seen])
    measured = extremes(watched, [groups[node] for node in seen], samples)
    if symmetric:
        measured = {group: balanced(bounds) for group, bounds in measured.items()}
    narrow = NARROWING[method]
    if narrow is not None:
        counts = histograms(watched, [groups[node] for node in seen], measured, samples)
        measured = {group: narrow(counts[group], bounds) for group, bounds in measured.items()}
        if symmetric:
            measured = {group: balanced(bounds) for group, bounds in measured.items()}
    ranges |= measured
    return Plan(
        model=model.name,
        method=method,
        images=len(samples),
        tensors={names[node]: groups[node] for node in kept},
        ranges={group: ranges[group] for group in dict.fromkeys(groups.values())},
        kernels={layer.name: _limits(layer, method) for layer in primitive.layers if type(layer) in QUANTIZED},
    )


def _limits(layer: keras.Layer, method: str) -> tuple[float, ...]:
    _, axes = QUANTIZED[type(layer)]
    limits = kernel_limits(np.asarray(layer.get_weights()[0]), axes, least_error=method == "mse")
    return tuple(float(limit) for limit in limits)
