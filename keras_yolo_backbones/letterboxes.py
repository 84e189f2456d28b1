"""Images fitted into a frame, the way YOLO detectors are fed; and boxes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.images import decode
from keras_yolo_backbones.pixel_limit import MAX_PIXELS
from keras_yolo_backbones.preprocessing import GREY


class Letterboxed(NamedTuple):
    """An image fitted into a frame.

    Attributes:
        image: (height, width, channels) uint8.
        scale: frame pixels per image pixel.
        top: rows of padding above the image.
        left: columns of padding to its left.
        size: (height, width) of the image before.
    """

    image: np.ndarray
    scale: float
    top: int
    left: int
    size: tuple[int, int]


def letterbox(
    image: np.ndarray, height: int, width: int, *, padding: Sequence[int] = (GREY, GREY, GREY)
) -> Letterboxed:
    """Scale an image to fit into (height, width), keeping its proportions, and centre it on bars of one colour.

    Args:
        image: (any height, any width, channels) uint8.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        padding: colour of the bars, one number a channel; of other images than those with three, the mean of it.

    Returns:
        The frame and what `unletterbox` needs to take boxes back to the image.

    Raises:
        ArgumentError: the image is no uint8 array of three axes, or is empty.
    """
    import tensorflow as tf

    if image.ndim != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ArgumentError(
            f"an image is a uint8 array (height, width, channels) of pixels 0…255, not {image.dtype} {image.shape}."
        )
    size = image.shape[:2]
    scale = min(height / size[0], width / size[1])
    rows, columns = (max(1, round(side * scale)) for side in size)
    if (rows, columns) != size:
        image = np.clip(np.rint(tf.image.resize(image, (rows, columns), antialias=scale < 1).numpy()), 0, 255)
    top, left = (height - rows) // 2, (width - columns) // 2
    frame = np.empty((height, width, image.shape[2]), np.uint8)
    frame[:] = padding if len(padding) == frame.shape[2] else round(sum(padding) / len(padding))
    frame[top : top + rows, left : left + columns] = image
    return Letterboxed(frame, scale, top, left, size)


def unletterbox(boxes: Any, frame: Letterboxed) -> np.ndarray:
    """Boxes in pixels of a frame, as a detector gives them, in pixels of the image that was fitted into it.

    Args:
        boxes: (…, 4) left, top, right, bottom in the frame.
        frame: from `letterbox` or `preprocess`.

    Returns:
        (…, 4) float32, cut off at the image's borders.
    """
    boxes = np.asarray(boxes, np.float32)
    if boxes.shape[-1:] != (4,):
        raise ArgumentError(f"boxes are (…, 4): left, top, right, bottom; not {boxes.shape}.")
    height, width = frame.size
    origin = np.float32([frame.left, frame.top] * 2)
    return np.clip((boxes - origin) / np.float32(frame.scale), 0, np.float32([width, height] * 2))


def letterbox_file(
    file: Any,
    height: int,
    width: int,
    padding: Sequence[int] = (GREY, GREY, GREY),
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Any, Any, Any, Any]:
    """What `letterbox` does, in a TensorFlow graph, on the content of an image file; the same to the byte.

    Args:
        file: scalar string tensor: a JPEG, PNG or BMP file.
        height: of the frame, in pixels.
        width: of the frame, in pixels.
        padding: colour of the bars, red, green, blue.
        max_pixels: a larger image fails the graph, by its header.

    Returns:
        The frame (height, width, 3) uint8, the scale () float32, (top, left) as (2,) float32, and (height, width) of
        the image as (2,) float32.
    """
    return fitted(decode(file, max_pixels), height, width, padding)


def fitted(image: Any, height: int, width: int, padding: Sequence[int]) -> tuple[Any, Any, Any, Any]:
    """`letterbox_file` of decoded pixels, (any height, any width, 3) uint8."""
    import tensorflow as tf

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
    margins = [[top, height - rows - top], [left, width - columns - left]]
    frame = tf.ensure_shape(_padded(pixels, margins, padding), (height, width, 3))
    padding_size = (tf.cast(pair, tf.float32) for pair in (tf.stack([top, left]), sides))
    return frame, tf.cast(scale, tf.float32), *padding_size


def _padded(pixels: Any, margins: Any, padding: Sequence[int]) -> Any:
    """Bars of one colour around (any height, any width, 3) pixels."""
    import tensorflow as tf

    if len(set(padding)) == 1:  # grey, nearly always: at once, in a quarter of the time of three planes
        return tf.pad(pixels, [*margins, [0, 0]], constant_values=padding[0])
    planes = [tf.pad(pixels[..., c], margins, constant_values=color) for c, color in enumerate(padding)]
    return tf.stack(planes, -1)
