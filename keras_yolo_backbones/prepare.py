"""From photographs to what a model takes, and from its cells back to pixels: what every detector's author needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.images import read_image, with_channels
from keras_yolo_backbones.letterboxes import Letterboxed, letterbox
from keras_yolo_backbones.levels import pyramid


class Prepared(NamedTuple):
    """Images ready for a model.

    Attributes:
        images: (images, height, width, channels) float32, as the model takes them.
        frames: for each image where it is in its frame, for `unletterbox`.
    """

    images: np.ndarray
    frames: tuple[Letterboxed, ...]


class Cells(NamedTuple):
    """The cells of one level.

    Attributes:
        centres: (rows, columns, 2) float32, x and y of each cell's centre in pixels of the model's input.
        stride: pixels per cell.
    """

    centres: np.ndarray
    stride: int


def preprocess(images: Any, model: keras.Model, *, image_size: int | tuple[int, int] | None = None) -> Prepared:
    """Letterbox photographs and turn them into what `model` takes: its size, order of colours, scale.

    `model(prepared.images)` then gives levels, and `unletterbox(boxes, prepared.frames[0])` takes boxes back.

    Args:
        images: a file, an array (height, width, channels) of RGB pixels 0…255 in uint8, or several of either: a list,
            or an array with an axis more.
        model: any functional model with one image input.
        image_size: side or (height, width), for a model that leaves them open.

    Raises:
        ArgumentError: an image that is none, or a size that the model does not take.
        ValueError: a file that is no readable image.
    """
    signature = image_input(model)
    height, width, channels = signature.sized(image_size)
    preprocessing = signature.preprocessing
    frames = tuple(
        letterbox(_pixels(image, channels), height, width, padding=preprocessing.padding) for image in _several(images)
    )
    pixels = [frame.image for frame in frames] or [np.empty((0, height, width, channels), np.uint8)]
    return Prepared(preprocessing.apply(np.stack(pixels) if frames else pixels[0]), frames)


def grid(model: keras.Model, *, image_size: int | tuple[int, int] | None = None) -> dict[str, Cells]:
    """Cell centres and stride of every level, in the model's order.

    Args:
        model: its outputs are levels, see `pyramid`.
        image_size: side or (height, width), for a model that leaves them open.

    Returns:
        Level name -> `Cells`: the cell in row r and column c is centred at ((c + ½) · stride, (r + ½) · stride).

    Raises:
        ArgumentError: the outputs are no levels, or the size is missing.
    """
    height, width, _ = image_input(model).sized(image_size)
    return {
        name: Cells(_centres(-(-height // stride), -(-width // stride), stride), stride)
        for name, stride, *_ in pyramid(model)
    }


def _centres(rows: int, columns: int, stride: int) -> np.ndarray:
    cells: np.ndarray = np.indices((rows, columns), np.float32)  # (row, column), each (rows, columns)
    return (np.moveaxis(cells[::-1], 0, -1) + np.float32(0.5)) * np.float32(stride)


def _several(images: Any) -> Sequence[Any]:
    if isinstance(images, (str, Path)):
        return [images]
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 4 else list(images)
    if isinstance(images, Sequence):
        return images
    raise ArgumentError(f"images are files or uint8 arrays, one or a list of them, not {type(images).__name__}.")


def _pixels(image: Any, channels: int) -> np.ndarray:
    if isinstance(image, (str, Path)):
        return with_channels(read_image(Path(image)), channels)
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise ArgumentError(
            f"an image of {array.dtype}: pass pixels 0…255 as uint8; what the model takes instead is made of them here."
        )
    return with_channels(array, channels) if array.ndim == 3 else array
