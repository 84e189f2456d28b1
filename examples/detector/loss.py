"""What a detector is trained on: which cell answers for which object, and how wrong its answer is.

Assignment by alignment of score and overlap: TOOD (arXiv:2108.07755). Boxes: CIoU (arXiv:1911.08287) and distribution
focal loss (arXiv:2006.04388). Scores: binary cross-entropy against the alignment.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from boxes import Decoder
from keras import ops
from network import BINS

CANDIDATES = 10
"""Cells that answer for one object, at most."""

GAINS = {"boxes": 7.5, "scores": 0.5, "distributions": 1.5}


class Detector(keras.Model):
    """A functional detector with its loss: `compile(optimizer)`, then `fit` on (images, objects).

    Objects are (batch, most, 5) float32: label, left, top, right, bottom in pixels; label −1 where there is none.
    """

    def __init__(self, model: keras.Model):
        super().__init__(inputs=model.input, outputs=model.output, name=model.name)
        self.decoder = Decoder(model)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):  # noqa: ARG002
        parts = losses(self.decoder, y_pred, y)
        return sum(GAINS[name] * value for name, value in parts.items())


class Assigned(NamedTuple):
    """For each cell: what it should say. `weight` (batch, cells) is 0 for cells that answer for nothing."""

    scores: keras.KerasTensor
    boxes: keras.KerasTensor
    weight: keras.KerasTensor


def losses(decoder: Decoder, outputs, objects):
    """The three losses of a batch, each divided by the sum of all target scores."""
    logits = {part: ops.cast(decoder.flat(outputs, part), "float32") for part in ("boxes", "scores")}
    corners = decoder.corners(logits["boxes"])
    goal = assign(decoder.centres, corners, ops.sigmoid(logits["scores"]), objects)
    total = ops.maximum(ops.sum(goal.weight), 1.0)
    scores = ops.binary_crossentropy(goal.scores, logits["scores"], from_logits=True)
    distances = ops.concatenate([decoder.centres - goal.boxes[..., :2], goal.boxes[..., 2:] - decoder.centres], axis=-1)
    parts = {
        "boxes": (1 - ciou(corners, goal.boxes)) * goal.weight,
        "scores": scores,
        "distributions": distribution_loss(logits["boxes"], distances / decoder.strides) * goal.weight,
    }
    return {name: ops.sum(value) / total for name, value in parts.items()}


def assign(centres, corners, scores, objects) -> Assigned:
    """Choose for every object the cells inside it whose score and overlap fit it best.

    Args:
        centres: (cells, 2) in pixels.
        corners: (batch, cells, 4), predicted.
        scores: (batch, cells, classes), predicted probabilities.
        objects: (batch, most, 5).
    """
    corners, scores = ops.stop_gradient(corners), ops.stop_gradient(scores)
    labels, boxes = objects[..., 0], objects[..., 1:]
    classes = ops.one_hot(ops.cast(labels, "int32"), scores.shape[-1])  # all 0 for the label −1
    margins = ops.concatenate([centres - boxes[:, :, None, :2], boxes[:, :, None, 2:] - centres], axis=-1)
    inside = ops.cast(ops.min(margins, axis=-1) > 0, "float32") * ops.cast(labels >= 0, "float32")[..., None]
    overlap = iou(boxes[:, :, None], corners[:, None]) * inside  # (batch, objects, cells)
    fit = (ops.sqrt(ops.einsum("bmk,bck->bmc", classes, scores)) * overlap**6 + 1e-9) * inside
    least = ops.top_k(fit, min(CANDIDATES, len(centres)))[0][..., -1:]
    chosen = ops.cast(fit >= least, "float32") * inside
    rival = ops.argmax(chosen * (overlap + 1e-9), axis=1)  # a cell that several want goes to the largest overlap
    chosen = chosen * ops.transpose(ops.one_hot(rival, boxes.shape[1]), (0, 2, 1))
    fit, overlap = fit * chosen, overlap * chosen
    best_fit, best_overlap = (ops.max(x, axis=-1, keepdims=True) for x in (fit, overlap))
    target = fit * best_overlap / (best_fit + 1e-9)
    return Assigned(
        ops.einsum("bmc,bmk->bck", target, classes),
        ops.einsum("bmc,bmd->bcd", chosen, boxes),
        ops.sum(target, axis=1),
    )


def iou(a, b):
    """Intersection over union of boxes, pair by pair."""
    size = ops.maximum(ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2]), 0.0)
    shared = size[..., 0] * size[..., 1]
    return shared / (_area(a) + _area(b) - shared + 1e-7)


def ciou(a, b):
    """IoU, less for centres that are apart and for proportions that differ."""
    overlap = iou(a, b)
    frame = ops.maximum(a[..., 2:], b[..., 2:]) - ops.minimum(a[..., :2], b[..., :2])
    apart = ops.sum(((a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])) ** 2, axis=-1) / 4
    angles = [ops.arctan((x[..., 2] - x[..., 0]) / (x[..., 3] - x[..., 1] + 1e-7)) for x in (a, b)]
    shape = 4 / np.pi**2 * (angles[0] - angles[1]) ** 2
    share = ops.stop_gradient(shape / (1 - overlap + shape + 1e-7))
    return overlap - apart / (ops.sum(frame**2, axis=-1) + 1e-7) - share * shape


def distribution_loss(logits, distances):
    """Cross-entropy of each side's distribution with the two bins around its distance, averaged over the sides."""
    bins = ops.reshape(logits, (-1, logits.shape[1], 4, BINS))
    distances = ops.clip(distances, 0.0, BINS - 1.01)
    lower = ops.floor(distances)
    wanted = (lower + 1 - distances)[..., None] * ops.one_hot(ops.cast(lower, "int32"), BINS)
    wanted += (distances - lower)[..., None] * ops.one_hot(ops.cast(lower, "int32") + 1, BINS)
    return -ops.mean(ops.sum(wanted * ops.log_softmax(bins), axis=-1), axis=-1)


def _area(box):
    return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
