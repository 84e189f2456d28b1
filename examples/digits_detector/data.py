"""A detection task from real images that come with scikit-learn: handwritten digits on crops of photographs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

SIDE = 64
STRIDE = 8
CLASSES = 10
TRAINING_DIGITS = 1300
"""Of the 1797 handwritten digits, the first so many are for training; testing uses the others."""


class Digits(NamedTuple):
    """Images with their objects.

    Attributes:
        images: (count, 64, 64, 3) uint8.
        boxes: for each image (objects, 4) float32: left, top, right, bottom in pixels.
        labels: for each image (objects,) digits.
    """

    images: np.ndarray
    boxes: list[np.ndarray]
    labels: list[np.ndarray]


def make_digits(count: int, *, seed: int, training: bool) -> Digits:
    """Compose images: one to four digits of 14 to 30 pixels, in random colours, on a crop of a photograph."""
    from sklearn.datasets import load_digits, load_sample_images

    random = np.random.default_rng(seed)
    source = load_digits()
    chosen = np.arange(len(source.target))
    chosen = chosen[:TRAINING_DIGITS] if training else chosen[TRAINING_DIGITS:]
    photographs = load_sample_images().images
    images, all_boxes, all_labels = [], [], []
    for _ in range(count):
        image = _background(photographs, random)
        boxes: list[np.ndarray] = []
        labels = []
        for index in random.choice(chosen, random.integers(1, 5)):
            box = _paste(image, source.images[index] / 16, boxes, random)
            if box is not None:
                boxes.append(box)
                labels.append(source.target[index])
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        all_boxes.append(np.reshape(boxes, (-1, 4)).astype(np.float32))
        all_labels.append(np.array(labels, int))
    return Digits(np.stack(images), all_boxes, all_labels)


def make_backgrounds(count: int, *, seed: int) -> np.ndarray:
    """Crops of the photographs without any digit: (count, 64, 64, 3) uint8."""
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(seed)
    photographs = load_sample_images().images
    return np.stack([np.clip(_background(photographs, random), 0, 255).astype(np.uint8) for _ in range(count)])


def targets(digits: Digits) -> tuple[np.ndarray, np.ndarray]:
    """What the detector learns, for each cell of 8×8 pixels.

    Returns:
        scores (count, 8, 8, 10), 1 for the digit in whose central part the cell's centre lies; and boxes
        (count, 8, 8, 5): the distances to the box's left, top, right and bottom in cells, and 1 where there is one.
    """
    cells = SIDE // STRIDE
    centre = (np.arange(cells) + 0.5) * STRIDE
    scores = np.zeros((len(digits.images), cells, cells, CLASSES), np.float32)
    distances = np.zeros((len(digits.images), cells, cells, 5), np.float32)
    for index, (boxes, labels) in enumerate(zip(digits.boxes, digits.labels, strict=True)):
        for (left, top, right, bottom), label in zip(boxes, labels, strict=True):
            x, y = (left + right) / 2, (top + bottom) / 2
            columns = np.flatnonzero(np.abs(centre - x) <= max((right - left) / 4, STRIDE / 2))
            rows = np.flatnonzero(np.abs(centre - y) <= max((bottom - top) / 4, STRIDE / 2))
            for row in rows:
                for column in columns:
                    scores[index, row, column] = np.eye(CLASSES)[label]
                    cx, cy = centre[column], centre[row]
                    distances[index, row, column, :4] = (
                        np.array([cx - left, cy - top, right - cx, bottom - cy]) / STRIDE
                    )
                    distances[index, row, column, 4] = 1
    return scores, distances


def _background(photographs: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    """A random part of a photograph, scaled to 64 pixels: (64, 64, 3) float32."""
    photograph = photographs[random.integers(len(photographs))]
    side = random.integers(SIDE, 3 * SIDE)
    top, left = (random.integers(size - side + 1) for size in photograph.shape[:2])
    crop = photograph[top : top + side, left : left + side]
    return tf.image.resize(crop, (SIDE, SIDE), antialias=True).numpy()


def _paste(
    image: np.ndarray, digit: np.ndarray, others: list[np.ndarray], random: np.random.Generator
) -> np.ndarray | None:
    """Draw a digit at a random place into `image`; returns its box, `None` if it would cover another."""
    side = int(random.integers(14, 31))
    opacity = np.clip(tf.image.resize(digit[..., np.newaxis], (side, side), method="bicubic").numpy(), 0, 1)
    rows, columns = (np.flatnonzero(opacity[..., 0].max(axis) > 0.3) for axis in (1, 0))
    top, left = random.integers(0, SIDE - side + 1, 2)
    box = np.array([left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1], np.float32)
    if any(min(box[2], o[2]) > max(box[0], o[0]) and min(box[3], o[3]) > max(box[1], o[1]) for o in others):
        return None
    part = image[top : top + side, left : left + side]
    bright = part.mean() < 128
    colour = random.uniform(170, 255, 3) if bright else random.uniform(0, 85, 3)
    part += opacity * (colour - part)
    return box
