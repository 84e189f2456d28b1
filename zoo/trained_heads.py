"""Neck and head of a YOLOv8 detector, given its tensors: boxes from features, and what of them is found again.

For measuring only: a detector to train is in examples/detector.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

CONFIDENCE, OVERLAP = 0.25, 0.5
"""A box counts from this probability on, and is found again by one of at least this IoU."""

_BINS, _EPSILON, _MOST = 16, 1e-3, 100


class Detector:
    """The part of a detector after its backbone.

    Args:
        tensors: by the original's names, with batch norms or with these folded.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        self._tensors = {key: np.asarray(value, np.float32) for key, value in tensors.items()}

    def __call__(self, features: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """For each image its boxes: rows of left, top, right, bottom (pixels), probability, class, angle (radians)."""
        p3, p4, p5 = (tf.constant(features[level]) for level in ("P3", "P4", "P5"))
        n4 = self._c2f("12", tf.concat([_doubled(p5), p4], -1))
        n3 = self._c2f("15", tf.concat([_doubled(n4), p3], -1))
        n4 = self._c2f("18", tf.concat([self._conv("16", n3, 2), n4], -1))
        n5 = self._c2f("21", tf.concat([self._conv("19", n4, 2), p5], -1))
        parts = [self._level(index, level, 8 << index) for index, level in enumerate((n3, n4, n5))]
        rows = np.concatenate(parts, axis=1)
        return [_suppressed(image[image[:, 4] >= CONFIDENCE]) for image in rows]

    def _level(self, index: int, x: tf.Tensor, stride: int) -> np.ndarray:
        """(images, cells, 7) of one level."""
        logits, scores = self._branch("cv2", index, x), tf.sigmoid(self._branch("cv3", index, x)).numpy()
        images, height, width, _ = logits.shape
        bins = tf.nn.softmax(tf.reshape(logits, (images, height, width, 4, _BINS)))
        left, top, right, bottom = np.moveaxis(bins.numpy() @ np.arange(_BINS, dtype=np.float32), -1, 0)
        angle = np.zeros_like(left)
        if f"model.22.cv4.{index}.2.weight" in self._tensors:
            angle = (tf.sigmoid(self._branch("cv4", index, x)).numpy()[..., 0] - 0.25) * np.pi
        along, across = (right - left) / 2, (bottom - top) / 2
        x_centre = np.arange(width) + 0.5 + along * np.cos(angle) - across * np.sin(angle)
        y_centre = np.arange(height)[:, None] + 0.5 + along * np.sin(angle) + across * np.cos(angle)
        half = (left + right) / 2, (top + bottom) / 2
        corners = (x_centre - half[0], y_centre - half[1], x_centre + half[0], y_centre + half[1])
        columns = [*(corner * stride for corner in corners), scores.max(-1), scores.argmax(-1), angle]
        return np.stack(columns, -1).reshape(images, -1, 7)

    def _branch(self, name: str, index: int, x: tf.Tensor) -> tf.Tensor:
        path = f"22.{name}.{index}"
        x = self._conv(f"{path}.1", self._conv(f"{path}.0", x))
        kernel, bias = (self._tensors[f"model.{path}.2.{part}"] for part in ("weight", "bias"))
        return tf.nn.conv2d(x, kernel.transpose(2, 3, 1, 0), 1, "VALID") + bias

    def _c2f(self, path: str, x: tf.Tensor) -> tf.Tensor:
        parts = tf.split(self._conv(f"{path}.cv1", x), 2, -1)
        count = 0
        while f"model.{path}.m.{count}.cv1.conv.weight" in self._tensors:
            inner = self._conv(f"{path}.m.{count}.cv1", parts[-1])
            parts.append(self._conv(f"{path}.m.{count}.cv2", inner))
            count += 1
        return self._conv(f"{path}.cv2", tf.concat(parts, -1))

    def _conv(self, path: str, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
        kernel = self._tensors[f"model.{path}.conv.weight"].transpose(2, 3, 1, 0)
        if f"model.{path}.bn.weight" in self._tensors:
            gamma, beta, mean, variance = (
                self._tensors[f"model.{path}.bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = gamma / np.sqrt(variance + _EPSILON)
            kernel, bias = kernel * factor, beta - mean * factor
        else:
            bias = self._tensors[f"model.{path}.conv.bias"]
        side = kernel.shape[0] // 2
        x = tf.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
        return tf.nn.silu(tf.nn.conv2d(x, kernel, stride, "VALID") + bias)


def found_again(wanted: list[np.ndarray], given: list[np.ndarray]) -> dict[str, float]:
    """Recall and precision of boxes against those of the float detector, and how many those are."""
    hits = sum(_matches(a, b) for a, b in zip(wanted, given, strict=True))
    boxes, found = sum(map(len, wanted)), sum(map(len, given))
    return {"recall": hits / max(boxes, 1), "precision": hits / max(found, 1), "boxes": boxes}


def _matches(wanted: np.ndarray, given: np.ndarray) -> int:
    """Pairs of boxes of one class that overlap enough; each box is in one pair at most, the surest choose first."""
    free, count = list(range(len(wanted))), 0
    for box in given[np.argsort(-given[:, 4], kind="stable")]:
        overlaps = [_iou(box, wanted[index]) if box[5] == wanted[index, 5] else 0.0 for index in free]
        if overlaps and max(overlaps) > OVERLAP:
            free.pop(int(np.argmax(overlaps)))
            count += 1
    return count


def _suppressed(rows: np.ndarray) -> np.ndarray:
    """The surest of the boxes that overlap by more than 0.7 within a class."""
    kept: list[np.ndarray] = []
    for row in rows[np.argsort(-rows[:, 4], kind="stable")]:
        if len(kept) < _MOST and all(row[5] != other[5] or _iou(row, other) <= 0.7 for other in kept):
            kept.append(row)
    return np.array(kept).reshape(-1, 7)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two turned boxes."""
    distance = np.hypot(*((a[:2] + a[2:4] - b[:2] - b[2:4]) / 2))
    if distance > (np.hypot(*(a[2:4] - a[:2])) + np.hypot(*(b[2:4] - b[:2]))) / 2:
        return 0.0
    shared = _area(_clipped(_corners(a), _corners(b)))
    both = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (a, b))
    return shared / max(both - shared, 1e-9)


def _corners(row: np.ndarray) -> np.ndarray:
    centre, half = (row[:2] + row[2:4]) / 2, (row[2:4] - row[:2]) / 2
    cosine, sine = np.cos(row[6]), np.sin(row[6])
    offsets = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return centre + offsets @ np.array([[cosine, sine], [-sine, cosine]])


def _clipped(subject: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The part of a convex polygon inside another, side by side (Sutherland and Hodgman, 1974)."""
    for start, end in zip(window, np.roll(window, -1, 0), strict=True):
        if len(subject) == 0:
            break
        edge = end - start
        inside = edge[0] * (subject[:, 1] - start[1]) - edge[1] * (subject[:, 0] - start[0])
        points = []
        for index, point in enumerate(subject):
            before, last = subject[index - 1], inside[index - 1]
            if (inside[index] >= 0) != (last >= 0):
                points.append(before + (point - before) * last / (last - inside[index]))
            if inside[index] >= 0:
                points.append(point)
        subject = np.array(points)
    return subject


def _area(points: np.ndarray) -> float:
    if len(points) < 3:
        return 0.0
    x, y = points.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _doubled(x: tf.Tensor) -> tf.Tensor:
    return tf.repeat(tf.repeat(x, 2, 1), 2, 2)
