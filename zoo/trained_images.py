"""Images to calibrate on, and others to measure on, from samples of installed packages."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage.data
import tifffile
from sklearn.datasets import load_sample_images

import keras_yolo_backbones as kyb

CROPS = {"flower": 20, "motorcycle": 14, "astronaut": 20, "rocket": 14, "hubble": 8, "retina": 6, "ihc": 6, "grass": 4}
CROPS |= {"page": 2, "coins": 2}
HELD_OUT = {"china": 5, "chelsea": 4, "coffee": 4}
"""Photographs that no calibration sees."""

PERSON = "astronaut"
"""The photograph with a person: for a detector of these it is held out too."""


class Images(NamedTuple):
    """uint8 RGB, (images, side, side, 3)."""

    calibration: np.ndarray
    held_out: np.ndarray


def photographs(side: int, *, people: bool = False) -> Images:
    """Random crops of the photographs that come with scikit-learn and scikit-image.

    Args:
        side: in pixels.
        people: whether the one with a person is held out.
    """
    china, flower = load_sample_images().images
    left, _, _ = skimage.data.stereo_motorcycle()
    files = {"hubble": "hubble_deep_field", "ihc": "immunohistochemistry"}
    given = {"china": china, "flower": flower, "motorcycle": left}

    def crops(counts: dict[str, int]) -> np.ndarray:
        found: list[np.ndarray] = []
        for seed, (name, count) in enumerate(counts.items()):
            image = given[name] if name in given else getattr(skimage.data, files.get(name, name))()
            found += _crops(np.atleast_3d(image), count, side, seed)
        return np.stack(found)

    if not people:
        return Images(crops(CROPS), crops(HELD_OUT))
    others = {name: count for name, count in CROPS.items() if name != PERSON}
    return Images(crops(others), crops(HELD_OUT | {PERSON: 20}))


def micrographs(file: Path, side: int, count: int = 96, held_out: int = 24) -> Images:
    """Random crops of one electron micrograph; those to measure on are from its right third."""
    image = tifffile.imread(file).astype(np.float32)
    low, high = np.percentile(image, [0.1, 99.9])
    grey = np.uint8(np.clip((image - low) / (high - low), 0, 1) * 255)[..., None]
    border = grey.shape[1] * 2 // 3
    sides = side, 2 * side
    return Images(
        np.stack(_crops(grey[:, :border], count, side, 0, sides)),
        np.stack(_crops(grey[:, border:], held_out, side, 1, sides)),
    )


def _crops(
    image: np.ndarray, count: int, side: int, seed: int, sides: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """Squares of an image, half of them mirrored, letterboxed to `side`."""
    random = np.random.default_rng(seed)
    smallest = min(image.shape[:2])
    low, high = sides or (smallest // 2, smallest)
    found = []
    for index in range(count):
        size = int(random.integers(low, min(high, smallest) + 1))
        top, left = (int(random.integers(0, room - size + 1)) for room in image.shape[:2])
        crop = image[top : top + size, left : left + size]
        crop = np.repeat(crop, 3, -1) if crop.shape[-1] == 1 else crop[..., :3]
        crop = crop[:, ::-1] if index % 2 else crop
        found.append(kyb.letterbox(np.ascontiguousarray(crop), side, side).image)
    return found
