"""How closely one set of feature maps follows another."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import numpy as np

_PART = 1 << 15
"""Values that are compared at a time, in double precision: they stay in the processor's cache."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """A candidate against its reference, over all elements.

    Attributes:
        max_error: max|candidate − reference|, in the unit of the features.
        relative: `max_error` / max|reference|.
        snr_db: 10·log₁₀(Σ reference² / Σ (candidate − reference)²); infinite for equal arrays.
        cosine: cosine of the angle between the two as vectors.
    """

    max_error: float
    relative: float
    snr_db: float
    cosine: float


def agreement(reference: np.ndarray, candidate: np.ndarray) -> Agreement:
    """Compare two arrays of one shape. Anything that is not finite counts as no agreement at all.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != candidate.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {candidate.shape}")
    error = largest = signal = other = both = noise = 0.0
    whole, given = reference.ravel(), candidate.ravel()
    with np.errstate(all="ignore"):
        for start in range(0, whole.size, _PART):
            a: np.ndarray = whole[start : start + _PART].astype(np.float64)
            b: np.ndarray = given[start : start + _PART].astype(np.float64)
            difference = a - b
            error, largest = max(error, np.abs(difference).max()), max(largest, np.abs(a).max())
            signal, other, both, noise = signal + a @ a, other + b @ b, both + a @ b, noise + difference @ difference
    if not math.isfinite(signal + other):
        return Agreement(math.inf, math.inf, -math.inf, 0.0)
    lengths = math.sqrt(signal * other)
    return Agreement(
        max_error=float(error),
        relative=float(error / largest) if largest else (0.0 if error == 0 else math.inf),
        snr_db=10 * math.log10(signal / noise) if noise and signal else (math.inf if noise == 0 else -math.inf),
        cosine=float(both / lengths) if lengths else float(error == 0),
    )


def probe(model: keras.Model, *, most: int | None = None) -> Any:
    """Random inputs for a model, in the structure of its inputs: in [0, 1), and integer images in 0…255.

    Args:
        model: open sizes become 128, open batches 1.
        most: images that are higher or wider are drawn so high or wide.
    """
    random = np.random.default_rng(0)

    def fill(tensor: keras.KerasTensor) -> np.ndarray:
        batch, *rest = tensor.shape
        sizes = [size or 128 for size in rest]
        if most is not None and len(sizes) == 3:
            sizes = [min(size, most) for size in sizes[:2]] + sizes[2:]
        values = random.random((batch or 1, *sizes))
        kind = keras.backend.standardize_dtype(tensor.dtype)
        pixels = "int" in kind and len(sizes) == 3  # other integers may be places in a table
        return (values * (128 if kind == "int8" else 256) if pixels else values).astype(kind)

    return keras.tree.map_structure(fill, model.input)
