"""Golden outputs of the original networks: weights by formula, images by seed, outputs as they were measured."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).parent / "data"


class Golden(NamedTuple):
    """One measured network.

    Attributes:
        meta: where it comes from, see `load`.
        tensors: the original's state dict, torch layout, float32.
        images: (batch, height, width, 3), RGB in [0, 1).
        levels: level name -> the original's output, NHWC.
    """

    meta: dict[str, Any]
    tensors: dict[str, np.ndarray]
    images: np.ndarray
    levels: dict[str, np.ndarray]


def load(path: Path) -> Golden:
    """Read a golden file and make the weights and images that it was measured with."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(arrays.pop("meta").tobytes())
    statistics = _statistics(meta, arrays)
    tensors = {
        key: statistics[key] if key in statistics else _formula(key, tuple(shape), meta["weights_seed"])
        for key, shape in meta["entries"]
        if not key.endswith(".num_batches_tracked")
    }
    images = np.random.RandomState(meta["input"]["seed"]).random_sample(meta["input"]["shape"]).astype(np.float32)
    return Golden(meta, tensors, images, {name: arrays[name] for name in arrays if name.startswith("P")})


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """max|a − b| / max|b|."""
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def _statistics(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The moving means and variances, stored one after another."""
    means, variances = arrays.pop("running_mean"), arrays.pop("running_var")
    found, start = {}, 0
    for name, channels, _ in meta["batch_norms"]:
        found[f"{name}.running_mean"] = means[start : start + channels]
        found[f"{name}.running_var"] = variances[start : start + channels]
        start += channels
    return found


def _formula(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    random = np.random.RandomState((zlib.crc32(key.encode()) + seed) & 0xFFFFFFFF)
    u = (random.random_sample(shape) * 2 - 1).astype(np.float32)
    if len(shape) == 4:
        return u * np.float32(np.sqrt(3 / np.prod(shape[1:])))
    if key.endswith(".bias"):
        return u * np.float32(0.5)
    if len(shape) == 1 and key.endswith(".weight"):
        return np.float32(1.05) + np.float32(0.45) * u
    return np.float32(0.75) + np.float32(0.45) * u
