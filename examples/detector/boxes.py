"""From what the network gives to boxes: distributions to distances, distances to corners, and the best of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from keras import ops
from network import BINS

import keras_yolo_backbones as kyb


class Detection(NamedTuple):
    """One object: label, probability, and left, top, right, bottom in pixels."""

    label: int
    score: float
    box: tuple[float, float, float, float]


class Decoder:
    """Boxes and probabilities of all cells, level by level, row by row. It is no part of what is quantized.

    Attributes:
        centres: (cells, 2) x and y of the cells' centres, in pixels.
        strides: (cells, 1) pixels per cell.
    """

    def __init__(self, model, image_size=None):
        cells = [level for name, level in kyb.grid(model, image_size=image_size).items() if name.endswith("_boxes")]
        self.levels = [name.removesuffix("_boxes") for name in model.output if name.endswith("_boxes")]
        self.centres = np.concatenate([level.centres.reshape(-1, 2) for level in cells])
        self.strides = np.concatenate([np.full((level.centres[..., 0].size, 1), level.stride) for level in cells])
        self.strides = self.strides.astype(np.float32)

    def flat(self, outputs, part):
        """One part of all levels: (batch, cells, channels)."""
        tensors = [outputs[f"{level}_{part}"] for level in self.levels]
        flat = [ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3])) for x in tensors]
        return ops.concatenate(flat, axis=1)

    def corners(self, logits):
        """(batch, cells, 64) logits of distances -> (batch, cells, 4) left, top, right, bottom in pixels."""
        bins = ops.reshape(ops.cast(logits, "float32"), (-1, len(self.centres), 4, BINS))
        distances = ops.sum(ops.softmax(bins) * np.arange(BINS, dtype=np.float32), axis=-1) * self.strides
        return ops.concatenate([self.centres - distances[..., :2], self.centres + distances[..., 2:]], axis=-1)

    def __call__(self, outputs):
        """The model's outputs -> boxes (batch, cells, 4) in pixels, probabilities (batch, cells, classes)."""
        scores = ops.sigmoid(ops.cast(self.flat(outputs, "scores"), "float32"))
        return self.corners(self.flat(outputs, "boxes")), scores


def best(boxes, scores, *, least=0.25, overlap=0.7, most=300) -> list[Detection]:
    """Non-maximum suppression within each class, the highest score first.

    Args:
        boxes: (cells, 4) of one image.
        scores: (cells, classes).
        least: probability below which nothing is an object.
        overlap: IoU above which two boxes of one class are one object.
        most: detections that are returned.
    """
    cells, labels = np.nonzero(np.asarray(scores) >= least)
    values, corners = np.asarray(scores)[cells, labels], np.asarray(boxes)[cells]
    waiting = np.argsort(-values, kind="stable")
    kept: list[Detection] = []
    while waiting.size and len(kept) < most:
        first, rest = waiting[0], waiting[1:]
        kept.append(Detection(int(labels[first]), float(values[first]), tuple(map(float, corners[first]))))
        rivals = (labels[rest] == labels[first]) & (iou(corners[first], corners[rest]) > overlap)
        waiting = rest[~rivals]
    return kept


def iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with others (n, 4)."""
    size = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None).prod(-1)
    areas = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1)
    return size / np.maximum(areas - size, 1e-9)
