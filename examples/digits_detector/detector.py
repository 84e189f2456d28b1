"""A small detector on a YOLOv8-n backbone: a neck that joins two levels, a head of two convolutions, its losses."""

from __future__ import annotations

import keras
import numpy as np
from data import CLASSES, SIDE, STRIDE
from keras import ops

import keras_yolo_backbones as kyb


def build_detector(name: str, activation: str) -> keras.Model:
    """images (64, 64, 3) -> {"scores": (8, 8, 10) logits, "boxes": (8, 8, 4) distances in cells}."""
    backbone = kyb.create(name, activation=activation, input_shape=(SIDE, SIDE, 3), levels=("P3", "P4"))
    top = keras.layers.UpSampling2D(2, name="neck.up")(backbone.output["P4"])
    x = keras.layers.Concatenate(name="neck.cat")([top, backbone.output["P3"]])
    outputs = {}
    x = _unit(x, 64, 1, activation, "neck.cv")
    for part, channels, bias in (("scores", CLASSES, -4.0), ("boxes", 4, 1.0)):
        y = _unit(x, 64, 3, activation, f"head.{part}.cv")
        start = keras.initializers.Constant(bias)
        outputs[part] = keras.layers.Conv2D(channels, 1, bias_initializer=start, name=f"head.{part}")(y)
    return keras.Model(backbone.input, outputs, name=f"digits-{name}-{activation}")


def _unit(x: keras.KerasTensor, channels: int, kernel: int, activation: str, name: str) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, kernel, padding="same", use_bias=False, name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}.bn")(x)
    return keras.layers.Activation(activation, name=f"{name}.act")(x)


def score_loss(truth, logits):
    """Focal cross-entropy, per object cell."""
    p = ops.sigmoid(logits)
    cross = ops.binary_crossentropy(truth, logits, from_logits=True)
    weight = ops.where(truth > 0, 0.75 * (1 - p) ** 2, 0.25 * p**2)
    return ops.sum(weight * cross) / ops.maximum(ops.sum(truth), 1.0) * 4


def box_loss(truth, distances):
    """1 − IoU and the absolute error, over object cells."""
    there, goal = truth[..., 4], truth[..., :4]
    positive = ops.maximum(distances, 0.01)
    shared = ops.minimum(positive, goal)
    inside = (shared[..., 0] + shared[..., 2]) * (shared[..., 1] + shared[..., 3])
    areas = [(d[..., 0] + d[..., 2]) * (d[..., 1] + d[..., 3]) for d in (positive, goal)]
    iou = inside / (areas[0] + areas[1] - inside + 1e-6)
    error = 1 - iou + 0.2 * ops.sum(ops.abs(distances - goal), axis=-1)
    return ops.sum(error * there) / ops.maximum(ops.sum(there), 1.0)


def detections(scores: np.ndarray, boxes: np.ndarray, *, least: float = 0.02, most: int = 20) -> list[tuple]:
    """(label, score, left, top, right, bottom) of one image, after non-maximum suppression within each class."""
    probability = 1 / (1 + np.exp(-scores))
    rows, columns, labels = np.nonzero(probability > least)
    centre = (np.stack([columns, rows], -1) + 0.5) * STRIDE
    distances = boxes[rows, columns] * STRIDE
    corners = np.concatenate([centre - distances[:, :2], centre + distances[:, 2:]], -1)
    values = probability[rows, columns, labels]
    kept: list[int] = []
    for index in np.argsort(-values):
        rivals = [other for other in kept if labels[other] == labels[index]]
        if all(_iou(corners[index], corners[other]) < 0.5 for other in rivals):
            kept.append(index)
    return [(int(labels[i]), float(values[i]), *map(float, corners[i])) for i in kept[:most]]


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(width * height / (areas[0] + areas[1] - width * height))
