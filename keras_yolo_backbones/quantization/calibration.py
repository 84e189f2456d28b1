"""Calibration images: whatever the user has, checked, as float batches of one."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import CalibrationError
from keras_yolo_backbones.images import SUFFIXES, find_images, read_image, with_channels
from keras_yolo_backbones.letterboxes import letterbox
from keras_yolo_backbones.preprocessing import RGB, Preprocessing

FEWEST = 8
"""Fewer images than this say nothing about ranges; a few hundred that look like the ones in use are good."""

MOST = 300
"""More images than this cost time and add nothing; a larger folder or array is sampled evenly."""


class Calibration(Sequence[np.ndarray]):
    """Representative images as a sequence of float32 arrays (1, height, width, channels), as the model accepts them.

    Pixels stay uint8 until an item is asked for: 300 images of 640×640 take 0.4 GB.
    """

    def __init__(self, images: list[np.ndarray], preprocessing: Preprocessing):
        self._images = images
        self.preprocessing = preprocessing

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Calibration(self._images[index], self.preprocessing)
        image = self._images[index]
        if image.dtype == np.uint8:
            image = self.preprocessing.apply(image)
        return image[np.newaxis]

    def digest(self) -> str:
        """sha256 over all images."""
        digest = hashlib.sha256(self.preprocessing.as_json().encode())
        for image in self._images:
            digest.update(f"{image.shape}{image.dtype}".encode())
            digest.update(image.tobytes())
        return digest.hexdigest()

    def chosen(self, indices: Sequence[int]) -> Calibration:
        """Some of the images."""
        return Calibration([self._images[index] for index in indices], self.preprocessing)

    def evenly(self, most: int) -> Calibration:
        """All images, or so many of them, evenly spread."""
        return self.split(most)[0]

    def split(self, most: int) -> tuple[Calibration, Calibration]:
        """`evenly`, and the others."""
        first = np.unique(np.linspace(0, len(self) - 1, most).round().astype(int)).tolist()
        return self.chosen(first), self.chosen(sorted(set(range(len(self))) - set(first)))

    def batch(self) -> np.ndarray:
        """All images as one batch, (images, height, width, channels) float32."""
        return np.concatenate([self[index] for index in range(len(self))])


def calibration_images(
    source: Any,
    *,
    shape: tuple[int, int, int],
    preprocessing: Preprocessing = RGB,
    fewest: int = FEWEST,
    most: int = MOST,
) -> Calibration:
    """Read representative images for a model. A set that can hardly be right is warned of: all black, divided twice.

    Args:
        source: a folder of photographs (searched below) or a list of such files, letterboxed to the model's size and
            turned upright; an array (images, height, width, channels); or an iterable of such batches, or of single
            images. uint8 arrays hold RGB pixels 0…255; float arrays hold what the model accepts. Of the pairs (images,
            labels) that datasets give, the images are taken.
        shape: (height, width, channels) of the model's input.
        preprocessing: what the model takes.
        fewest: fewer images than this are an error.
        most: larger sources are sampled down to this; of an iterable, the first are taken.

    Raises:
        CalibrationError: too few images, an unreadable file, a wrong shape or dtype, values out of range or not finite.
    """
    if isinstance(source, Calibration):
        return source
    images: list[np.ndarray] = []
    for batch in _batches(source, shape, preprocessing, fewest, most):
        images.extend(_checked(batch, shape, preprocessing, len(images)))
        if len(images) >= most:
            break
    if len(images) < fewest:
        raise CalibrationError(_too_few(len(images), fewest))
    _warn_of_darkness(images[:most], preprocessing)
    return Calibration(images[:most], preprocessing)


def _batches(
    source: Any, shape: tuple[int, int, int], preprocessing: Preprocessing, fewest: int, most: int
) -> Iterator[Any]:
    """The source as batches, or single images."""
    if isinstance(source, (str, Path)):
        return _from_files(_files_in(Path(source), fewest), shape, preprocessing, most)
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, Path)) for item in source):
        return _from_files([Path(item) for item in source], shape, preprocessing, most)
    if isinstance(source, np.ndarray):
        return iter([_sampled(source, most) if source.ndim == 4 else source])
    if isinstance(source, Iterable):
        return iter(source)
    raise CalibrationError(
        "calibration must be a folder, a list of image files, an array or an iterable of batches, not "
        f"{type(source).__name__}."
    )


def _too_few(count: int, fewest: int) -> str:
    return f"{count} calibration images; at least {fewest} are needed, a few hundred like those in use are good."


def _sampled(items: Any, most: int) -> Any:
    """At most `most` of the items, evenly spaced."""
    if len(items) <= most:
        return items
    chosen = np.linspace(0, len(items) - 1, most).round().astype(int)
    return items[chosen] if isinstance(items, np.ndarray) else [items[i] for i in chosen]


def _files_in(folder: Path, fewest: int) -> list[Path]:
    if not folder.is_dir():
        raise CalibrationError(f"{folder} is no folder; name one that holds {', '.join(SUFFIXES)} files.")
    files = find_images(folder)
    if len(files) < fewest:
        raise CalibrationError(f"{folder} ({', '.join(SUFFIXES)}): {_too_few(len(files), fewest)}")
    return files


def _from_files(
    files: list[Path], shape: tuple[int, int, int], preprocessing: Preprocessing, most: int
) -> Iterator[np.ndarray]:
    if shape[2] not in (1, 3):
        raise CalibrationError(f"the model takes {shape[2]} channels, image files give 3; pass arrays instead.")
    for file in _sampled(files, most):
        try:
            image = with_channels(read_image(file), shape[2])
        except ValueError as error:
            raise CalibrationError(f"{error}; remove or replace it.") from None
        yield letterbox(image, *shape[:2], padding=preprocessing.padding).image


def _checked(batch: Any, shape: tuple[int, int, int], preprocessing: Preprocessing, index: int) -> Iterator[np.ndarray]:
    """The images of one batch, checked: uint8 pixels, or float32 values that the model accepts."""
    if isinstance(batch, dict) and len(batch) == 1:
        batch = next(iter(batch.values()))
    if isinstance(batch, (tuple, list)) and batch and np.ndim(batch[0]) >= 3:
        batch = batch[0]  # (images, labels) as datasets give them
    if isinstance(batch, (str, bytes, Path)):
        raise CalibrationError(f"calibration image {index} is a name, {batch!r}; pass names as one list of them only.")
    array = np.asarray(batch)
    array = array[np.newaxis] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1:] != shape:
        raise CalibrationError(_wrong_shape(array.shape, shape, index))
    if array.dtype == np.uint8:
        yield from array
        return
    low, high = preprocessing.range
    if not np.issubdtype(array.dtype, np.floating):
        raise CalibrationError(
            f"calibration images are {array.dtype}; expected uint8 pixels or floats in [{low:g}, {high:g}]."
        )
    for offset, image in enumerate(array.astype(np.float32)):
        _check_values(image, low, high, index + offset)
        yield image


def _wrong_shape(found: tuple[int, ...], wanted: tuple[int, int, int], index: int) -> str:
    text = f"calibration image {index}: shape {found[1:] or found}, the model takes {wanted}; "
    if len(found) == 4 and found[1] == wanted[2] and found[3] != wanted[2]:
        return f"{text}channels come last here: pass images.transpose(0, 2, 3, 1)."
    if len(found) == 4 and found[3] == wanted[2]:
        return f"{text}resize (letterbox) the images to that."
    return f"{text}pass arrays (images, height, width, channels)."


def _check_values(image: np.ndarray, lowest: float, highest: float, index: int) -> None:
    if not np.isfinite(image).all():
        raise CalibrationError(f"calibration image {index} holds NaN or infinite values.")
    low, high = float(image.min()), float(image.max())
    margin = 1e-3 * (highest - lowest)
    if low < lowest - margin or high > highest + margin:
        raise CalibrationError(
            f"calibration image {index} has values from {low:g} to {high:g}; this model takes [{lowest:g}, "
            f"{highest:g}]: "
            + ("divide pixels by 255, or pass them as uint8." if highest == 1 else "pass RGB pixels 0…255 as uint8.")
        )
    if (lowest, highest) == (0, 255) and 0 < high <= 1:
        raise CalibrationError(
            f"calibration image {index} has no value above {high:g}; this model takes pixels 0…255 and divides itself."
        )


def _warn_of_darkness(images: list[np.ndarray], preprocessing: Preprocessing) -> None:
    """Warn of a set whose ranges would be those of nothing."""
    low, high = preprocessing.range
    largest = [float(i.max()) / 255 if i.dtype == np.uint8 else (float(i.max()) - low) / (high - low) for i in images]
    if max(largest, default=1) <= 0:
        problem = "all calibration images are black."
    elif max(largest, default=1) <= 1.01 / 255:
        problem = "no calibration image has a value above 1/255 of white: were the pixels divided twice?"
    else:
        return
    warnings.warn(f"{problem} The ranges that come from them fit no photograph.", stacklevel=3)
