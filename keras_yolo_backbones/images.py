"""Photographs in, arrays out: decoding and letterboxing, the way YOLO detectors are fed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
PADDING = 114
"""The grey that letterboxing pads with, as in the originals."""


class Letterboxed(NamedTuple):
    """An image fitted into a frame.

    Attributes:
        image: (height, width, 3) uint8.
        scale: frame pixels per image pixel.
        top: rows of padding above the image.
        left: columns of padding to its left.
    """

    image: np.ndarray
    scale: float
    top: int
    left: int


def find_images(folder: Path) -> list[Path]:
    """All image files in `folder` and below, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def read_image(path: Path) -> np.ndarray:
    """Decode a JPEG, PNG or BMP file to (height, width, 3) uint8 RGB.

    Raises:
        ValueError: the file is no readable image.
    """
    import tensorflow as tf

    try:
        image = tf.io.decode_image(path.read_bytes(), channels=3, expand_animations=False).numpy()
    except (tf.errors.InvalidArgumentError, OSError) as error:
        reason = str(getattr(error, "message", error)).split("\n")[0]
        raise ValueError(f"{path} is no readable image: {reason}") from None
    if image.size == 0:
        raise ValueError(f"{path} is an empty image")
    return image


def letterbox(image: np.ndarray, height: int, width: int) -> Letterboxed:
    """Scale an image to fit into (height, width), keeping its proportions, and centre it on grey.

    Args:
        image: (any height, any width, 3) uint8.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
    """
    import tensorflow as tf

    scale = min(height / image.shape[0], width / image.shape[1])
    rows, columns = (max(1, round(side * scale)) for side in image.shape[:2])
    if (rows, columns) != image.shape[:2]:
        image = np.clip(np.rint(tf.image.resize(image, (rows, columns), antialias=scale < 1).numpy()), 0, 255)
    top, left = (height - rows) // 2, (width - columns) // 2
    frame = np.full((height, width, image.shape[2]), PADDING, np.uint8)
    frame[top : top + rows, left : left + columns] = image
    return Letterboxed(frame, scale, top, left)


def letterbox_file(file: Any, height: int, width: int) -> tuple[Any, Any, Any]:
    """What `letterbox` does, in a TensorFlow graph, on the content of an image file; the same to the byte.

    Args:
        file: scalar string tensor: a JPEG, PNG, BMP or GIF file.
        height: of the frame, in pixels.
        width: of the frame, in pixels.

    Returns:
        The frame (height, width, 3) uint8, the scale () float32, and (top, left) as (2,) float32.
    """
    import tensorflow as tf

    image = tf.ensure_shape(tf.io.decode_image(file, channels=3, expand_animations=False), (None, None, 3))
    sides = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.reduce_min(tf.constant([height, width], tf.float64) / sides)
    rows, columns = tf.unstack(tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), 1))

    def resized(*, antialias: bool) -> Any:
        pixels = tf.image.resize(image, (rows, columns), antialias=antialias)
        return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8)

    # An image that fits already is not touched: resizing costs more than decoding.
    fits = tf.reduce_all(tf.shape(image)[:2] == tf.stack([rows, columns]))
    pixels = tf.case(
        [(fits, lambda: image), (scale < 1, lambda: resized(antialias=True))],
        default=lambda: resized(antialias=False),
    )
    top, left = (height - rows) // 2, (width - columns) // 2
    margins = [[top, height - rows - top], [left, width - columns - left], [0, 0]]
    frame = tf.ensure_shape(tf.pad(pixels, margins, constant_values=PADDING), (height, width, 3))
    return frame, tf.cast(scale, tf.float32), tf.cast(tf.stack([top, left]), tf.float32)
