"""Photographs in, arrays out: which files are read, and how they are decoded."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.orientation import jpeg_orientation, tiff_orientation, upright
from keras_yolo_backbones.pixel_limit import MAX_PIXELS, within_limit
from keras_yolo_backbones.webp import webp_exif, webp_size

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_WITH_PILLOW = (".tif", ".tiff")
_UNREAD = (*_WITH_PILLOW, ".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".gif")
"""Suffixes of photographs that are named in a warning where they cannot be read."""


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


def decode(file: Any, max_pixels: int = MAX_PIXELS, *, frame: tuple[int, int] | None = None) -> Any:
    """The pixels of a JPEG, PNG or BMP file, upright; in eager TensorFlow or in a graph.

    Args:
        file: scalar string tensor, the file's content.
        max_pixels: larger images are refused by their header.
        frame: (height, width) that the image will be scaled down to. A JPEG that is at least twice as large is then
            decoded at a half, a quarter or an eighth of its size, which takes less time; its pixels differ a little.

    Returns:
        (height, width, 3) uint8 tensor, RGB.

    Raises:
        tf.errors.InvalidArgumentError: no such file, or one of more pixels than `max_pixels`.
    """
    import tensorflow as tf

    checked = within_limit(file, max_pixels)

    def whole() -> Any:
        return tf.io.decode_image(checked, channels=3, expand_animations=False)

    if frame is None:
        pixels = whole()
    else:
        pixels = tf.cond(tf.io.is_jpeg(file), lambda: _reduced_jpeg(checked, frame, whole), whole)
    pixels = tf.ensure_shape(pixels, (None, None, 3))
    return tf.ensure_shape(upright(pixels, jpeg_orientation(file)), (None, None, 3))


def _reduced_jpeg(file: Any, frame: tuple[int, int], whole: Callable[[], Any]) -> Any:
    """The pixels of a JPEG at the smallest of its sizes that is no smaller than it will be in the frame."""
    import tensorflow as tf

    sides, fit = tf.cast(tf.image.extract_jpeg_shape(file)[:2], tf.float64), tf.constant(frame, tf.float64)
    # It may lie on its side: its EXIF data is looked at later.
    scale = tf.maximum(tf.reduce_min(fit / sides), tf.reduce_min(fit / sides[::-1]))
    smaller = [lambda ratio=ratio: tf.io.decode_jpeg(file, channels=3, ratio=ratio) for ratio in (2, 4, 8)]
    halvings = tf.math.count_nonzero(scale <= tf.constant([1 / 2, 1 / 4, 1 / 8], tf.float64), dtype=tf.int32)
    return tf.switch_case(halvings, [whole, *smaller])


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
