"""Write the digits task as a folder in YOLO's text format: handwritten digits on photographs, both scikit-learn's.

python examples/detector/digits.py build/digits --train 4000 --test 500
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    import numpy as np
    import tensorflow as tf
    from PIL import Image

SIDE = 64
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


def write(folder: Path, digits: Digits) -> None:
    """Images and labels, as `labels.py` reads them."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (image, boxes, labels) in enumerate(zip(*digits, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{index:05}.png")
        centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        lines = zip(labels, np.concatenate([centres, sizes], axis=-1) / SIDE, strict=True)
        text = "".join(f"{label} {' '.join(map(str, shares))}\n" for label, shares in lines)
        (folder / "labels" / f"{index:05}.txt").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=4000, help="images to train on")
    parser.add_argument("--test", type=int, default=500, help="images to test on, of digits that training never sees")
    args = parser.parse_args()
    write(args.folder / "train", make_digits(args.train, seed=0, training=True))
    write(args.folder / "test", make_digits(args.test, seed=2000, training=False))


if __name__ == "__main__":
    with native_noise_hidden():
        main()
