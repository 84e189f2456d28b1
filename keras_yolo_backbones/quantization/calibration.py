"""Calibration images: whatever the user has, checked, as float batches of one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import CalibrationError
from keras_yolo_backbones.images import SUFFIXES, find_images, letterbox, read_image

FEWEST = 8
"""Fewer images than this say nothing about ranges; a few hundred that look like the ones in use are good."""

MOST = 300
"""More images than this cost time and add nothing; a larger folder or array is sampled evenly."""


class Calibration(Sequence[np.ndarray]):
    """Representative images as a sequence of float32 arrays (1, height, width, channels) in [0, `scale`].

    Pixels stay uint8 until an item is asked for: 300 images of 640×640 take 0.4 GB.
    """

    def __init__(self, images: list[np.ndarray], scale: float):
        self._images = images
        self.scale = scale

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Calibration(self._images[index], self.scale)
        image = self._images[index]
        if image.dtype == np.uint8:
            image = image.astype(np.float32) * np.float32(self.scale / 255)
        return image[np.newaxis]

    def digest(self) -> str:
        """sha256 over all images."""
        digest = hashlib.sha256(f"{self.scale}".encode())
        for image in self._images:
            digest.update(f"{image.shape}{image.dtype}".encode())
            digest.update(image.tobytes())
        return digest.hexdigest()

    def chosen(self, indices: Sequence[int]) -> Calibration:
        """Some of the images."""
        return Calibration([self._images[index] for index in indices], self.scale)


def calibration_images(
    source: Any, *, shape: tuple[int, int, int], scale: float = 1.0, fewest: int = FEWEST, most: int = MOST
) -> Calibration:
    """Read representative images for a model.

    Args:
        source: a folder of JPEG, PNG or BMP files (searched below, letterboxed to the model's size); an array
            (images, height, width, channels); or an iterable of such batches, or of single images. uint8 arrays hold
            pixels 0…255; float arrays hold what the model takes, [0, `scale`]. Of the pairs (images, labels) that
            datasets give, the images are taken.
        shape: (height, width, channels) of the model's input.
        scale: the largest value that the model takes: 1, or 255 for a model that rescales by itself.
        fewest: fewer images than this are an error.
        most: larger sources are sampled down to this; of an iterable, the first are taken.

    Raises:
        CalibrationError: too few images, an unreadable file, a wrong shape or dtype, values out of range or not finite.
    """
    if isinstance(source, Calibration):
        return source
    if isinstance(source, (str, Path)):
        batches = _from_folder(Path(source), shape, fewest, most)
    elif isinstance(source, np.ndarray):
        batches = iter([_sampled(source, most) if source.ndim == 4 else source])
    elif isinstance(source, Iterable):
        batches = iter(source)
    else:
        raise CalibrationError(
            f"calibration must be a folder, an array or an iterable of batches, not {type(source).__name__}."
        )
    images: list[np.ndarray] = []
    for batch in batches:
        images.extend(_checked(batch, shape, scale, len(images)))
        if len(images) >= most:
            break
    if len(images) < fewest:
        raise CalibrationError(_too_few(len(images), fewest))
    return Calibration(images[:most], scale)


def _too_few(count: int, fewest: int) -> str:
    return f"{count} calibration images; at least {fewest} are needed, a few hundred like those in use are good."


def _sampled(items: Any, most: int) -> Any:
    """At most `most` of the items, evenly spaced."""
    if len(items) <= most:
        return items
    chosen = np.linspace(0, len(items) - 1, most).round().astype(int)
    return items[chosen] if isinstance(items, np.ndarray) else [items[i] for i in chosen]


def _from_folder(folder: Path, shape: tuple[int, int, int], fewest: int, most: int) -> Iterator[np.ndarray]:
    if not folder.is_dir():
        raise CalibrationError(f"{folder} is no folder; name one that holds {', '.join(SUFFIXES)} files.")
    files = find_images(folder)
    if len(files) < fewest:
        raise CalibrationError(f"{folder} ({', '.join(SUFFIXES)}): {_too_few(len(files), fewest)}")
    if shape[2] != 3:
        raise CalibrationError(f"the model takes {shape[2]} channels, image files give 3; pass arrays instead.")
    for file in _sampled(files, most):
        try:
            image = read_image(file)
        except ValueError as error:
            raise CalibrationError(f"{error}; remove or replace it.") from None
        yield letterbox(image, *shape[:2]).image


def _checked(batch: Any, shape: tuple[int, int, int], scale: float, index: int) -> Iterator[np.ndarray]:
    """The images of one batch, checked: uint8 pixels, or float32 that the model takes."""
    if isinstance(batch, dict) and len(batch) == 1:
        batch = next(iter(batch.values()))
    if isinstance(batch, (tuple, list)) and batch and np.ndim(batch[0]) >= 3:
        batch = batch[0]  # (images, labels) as datasets give them
    array = np.asarray(batch)
    array = array[np.newaxis] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1:] != shape:
        raise CalibrationError(
            f"calibration image {index}: shape {array.shape[1:] or array.shape}, the model takes {shape}; "
            "resize (letterbox) the images to that."
        )
    if array.dtype == np.uint8:
        yield from array
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise CalibrationError(
            f"calibration images are {array.dtype}; expected uint8 pixels or floats in [0, {scale:g}]."
        )
    for offset, image in enumerate(array.astype(np.float32)):
        _check_values(image, scale, index + offset)
        yield image


def _check_values(image: np.ndarray, scale: float, index: int) -> None:
    if not np.isfinite(image).all():
        raise CalibrationError(f"calibration image {index} holds NaN or infinite values.")
    low, high = float(image.min()), float(image.max())
    if low < -1e-3 * scale or high > scale * 1.001:
        raise CalibrationError(
            f"calibration image {index} has values from {low:g} to {high:g}; this model takes [0, {scale:g}]: "
            + ("divide pixels by 255, or pass them as uint8." if scale == 1 else "pass pixels 0…255.")
        )
    if scale == 255 and 0 < high <= 1:
        raise CalibrationError(
            f"calibration image {index} has no value above {high:g}; this model takes pixels 0…255 and divides itself."
        )
