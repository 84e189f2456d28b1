"""Real photographs that come with scikit-learn and scikit-image: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import skimage.data
from sklearn.datasets import load_sample_images

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina")


def photographs() -> Iterator[np.ndarray]:
    """Colour photographs, (height, width, 3) uint8, the street scene first."""
    yield from load_sample_images().images
    for name in NAMES:
        yield getattr(skimage.data, name)()
    yield from skimage.data.stereo_motorcycle()[:2]


def letterboxed(height: int, width: int) -> np.ndarray:
    """All of them, fitted into (images, height, width, 3) uint8."""
    from keras_yolo_backbones.letterboxes import letterbox

    return np.stack([letterbox(photograph, height, width).image for photograph in photographs()])
