"""Photographs in, arrays out: decoding and letterboxing, the way YOLO detectors are fed; and boxes back."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.orientation import jpeg_orientation, tiff_orientation, upright
from keras_yolo_backbones.pixel_limit import MAX_PIXELS, within_limit
from keras_yolo_backbones.preprocessing import GREY
from keras_yolo_backbones.webp import webp_exif, webp_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_WITH_PILLOW = (".tif", ".tiff")
_UNREAD = (*_WITH_PILLOW, ".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".gif")
"""Suffixes of photographs that are named in a warning where they cannot be read."""


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


def find_images(folder: Path) -> list[Path]:
    """All image files in `folder` and below that can be read, sorted; a warning names photographs that cannot."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    suffixes = readable(files)
    return [path for path in files if path.suffix.lower() in suffixes]


def readable(files: Iterable[Path]) -> tuple[str, ...]:
    """Suffixes that can be read here; a warning names those of `files` that are photographs of other kinds."""
    suffixes = SUFFIXES + (_WITH_PILLOW if importlib.util.find_spec("PIL") else ())
    skipped = [path.name for path in files if path.suffix.lower() in _UNREAD and path.suffix.lower() not in suffixes]
    if skipped:
        more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        pillow = any(name.lower().endswith(_WITH_PILLOW) for name in skipped)
        hint = "install pillow to read TIFF, " if pillow else ""
        warnings.warn(
            f"photographs that cannot be read are left out: {', '.join(skipped[:3])}{more}; {hint}convert others to "
            "JPEG or PNG.",
            stacklevel=3,
        )
    return suffixes


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file to (height, width, 3) uint8 RGB, turned as its EXIF data says.

    JPEG, PNG, BMP and WebP are read, and TIFF where Pillow is installed; the kind is told by content.

    Args:
        path: the file.
        max_pixels: larger images are refused by their header.

    Raises:
        ValueError: the file is no readable image.
    """
    import tensorflow as tf

    try:
        image = _decoded(path.read_bytes(), max_pixels)
    except (tf.errors.InvalidArgumentError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable image: {_reason(error)}") from None
    if image.size == 0:
        raise ValueError(f"{path} is an empty image")
    return image


def _reason(error: Exception) -> str:
    """What an error says, in one line. A check of TensorFlow says it in several, in quotes."""
    text = str(getattr(error, "message", error))
    _, is_check, said = text.partition("Summarized data: ")
    if not is_check:
        return text.split("\n")[0]
    return " ".join(line.removeprefix("b'").removesuffix("'") for line in said.splitlines())


def decode(file: Any, max_pixels: int = MAX_PIXELS) -> Any:
    """The pixels of a JPEG, PNG or BMP file, upright; in eager TensorFlow or in a graph.

    Args:
        file: scalar string tensor, the file's content.
        max_pixels: larger images are refused by their header.

    Returns:
        (height, width, 3) uint8 tensor, RGB.

    Raises:
        tf.errors.InvalidArgumentError: no such file, or one of more pixels than `max_pixels`.
    """
    import tensorflow as tf

    pixels = tf.io.decode_image(within_limit(file, max_pixels), channels=3, expand_animations=False)
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    return tf.ensure_shape(upright(pixels, jpeg_orientation(file)), (None, None, 3))


def _decoded(content: bytes, max_pixels: int) -> np.ndarray:
    """The one place where a file becomes pixels in Python."""
    import tensorflow as tf

    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        _check_pixels(*webp_size(content), max_pixels)
        orientation = tf.constant(tiff_orientation(webp_exif(content)), tf.int64)
        return upright(tf.io.decode_webp(content)[0, ..., :3], orientation).numpy()
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _with_pillow(content, max_pixels)
    return decode(content, max_pixels).numpy()


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ValueError(f"the image has {width * height} pixels, more than the limit of {max_pixels}")


def _with_pillow(content: bytes, max_pixels: int) -> np.ndarray:
    import io

    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ValueError("it is a TIFF; install pillow to read it, or convert it to PNG") from None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            _check_pixels(*image.size, max_pixels)
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """An RGB image for a network of 1 or 3 channels: itself, or its luminance (height, width, 1)."""
    if channels == image.shape[-1]:
        return image
    if (image.shape[-1], channels) != (3, 1):
        raise ArgumentError(f"an image of {image.shape[-1]} channels is nothing for a network of {channels}.")
    return np.rint(image @ np.float32([0.299, 0.587, 0.114])).astype(np.uint8)[..., np.newaxis]


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
    import tensorflow as tf

    image = decode(file, max_pixels)
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
    planes = [tf.pad(pixels[..., c], margins, constant_values=color) for c, color in enumerate(padding)]
    frame = tf.ensure_shape(tf.stack(planes, -1), (height, width, 3))
    padding_size = (tf.cast(pair, tf.float32) for pair in (tf.stack([top, left]), sides))
    return frame, tf.cast(scale, tf.float32), *padding_size
