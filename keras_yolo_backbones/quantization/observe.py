"""Watching a network at work: the ranges of its tensors on real images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_yolo_backbones.quantization.ranges import Range

BINS = 2048
"""Resolution of the histograms that percentiles and squared errors are read from."""

OUTSIDE = 1e-5
"""What `"percentile"` leaves out at either end: one value in a hundred thousand."""

Watched = Callable[[tf.Tensor], list[tf.Tensor]]
_SHRINKS = np.linspace(0.3, 1.0, 71)
_PART = 1 << 17
"""Weights that are rounded at a time: they stay in the processor's cache."""


def extremes(
    watched: Watched, groups: Sequence[str], images: Sequence[np.ndarray], known: Mapping[str, Range] | None = None
) -> dict[str, Range]:
    """Running minimum and maximum of each group over all images; 0 is always inside.

    Args:
        watched: images -> a list of tensors.
        groups: for each of them the group it belongs to.
        images: batches.
        known: what has been seen of the groups on other images.
    """

    @tf.function(autograph=False)
    def measure(batch: tf.Tensor) -> tf.Tensor:
        return tf.stack([ends_of(tensor) for tensor in watched(batch)])

    seen = dict.fromkeys(groups, (0.0, 0.0)) | dict(known or {})
    for index in range(len(images)):
        widen(seen, zip(groups, measure(images[index]).numpy(), strict=True))
    # What is never anything but 0 needs some range: any is exact.
    return {group: (low, high) if high > low else (0.0, 1.0) for group, (low, high) in seen.items()}


def ends_of(tensor: tf.Tensor) -> tf.Tensor:
    """(2,): the smallest and the largest value; 0 is always inside."""
    return tf.stack([tf.minimum(tf.reduce_min(tensor), 0.0), tf.maximum(tf.reduce_max(tensor), 0.0)])


def widen(seen: dict[str, Range], more: Iterable[tuple[str, Sequence[float]]]) -> None:
    """Widen the ranges of groups so that they hold others, (group, (low, high)), too."""
    for group, (low, high) in more:
        known = seen.get(group, (0.0, 0.0))
        seen[group] = min(known[0], float(low)), max(known[1], float(high))


def histograms(
    watched: Watched, groups: Sequence[str], ranges: dict[str, Range], images: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Group -> how many of its values lie in each of `BINS` equal parts of its range, over all images."""
    bounds = tf.constant([ranges[group] for group in groups], tf.float32)

    @tf.function(autograph=False)
    def measure(batch: tf.Tensor) -> tf.Tensor:
        tensors = watched(batch)
        return tf.stack([tf.histogram_fixed_width(t, bounds[i], BINS) for i, t in enumerate(tensors)])

    counts = {group: np.zeros(BINS) for group in groups}
    for index in range(len(images)):
        for group, row in zip(groups, measure(images[index]).numpy(), strict=True):
            counts[group] += row
    return counts


def percentile(counts: np.ndarray, bounds: Range) -> Range:
    """The range that leaves out `OUTSIDE` of all values at either end."""
    low, high = bounds
    edges = np.linspace(low, high, BINS + 1)
    share = np.cumsum(counts) / counts.sum()
    first, last = np.searchsorted(share, OUTSIDE), np.searchsorted(share, 1 - OUTSIDE)
    return _sound(edges[first], edges[min(last + 1, BINS)], bounds)


def least_squares(counts: np.ndarray, bounds: Range) -> Range:
    """The range, shrunk from `bounds` at both ends alike, with the least squared error of rounding and clipping."""
    low, high = bounds
    edges = np.linspace(low, high, BINS + 1)
    centres = (edges[1:] + edges[:-1]) / 2

    def error(shrink: float) -> float:
        step = shrink * (high - low) / 255
        rounded = np.clip(np.rint(centres / step) * step, low * shrink, high * shrink)
        # The spread of values within a bin is nothing compared with the step.
        return float(counts @ np.square(centres - rounded))

    best = min(_SHRINKS, key=error)
    return _sound(low * best, high * best, bounds)


def _sound(low: float, high: float, bounds: Range) -> Range:
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    return (low, high) if high > low else bounds


NARROWING: dict[str, Callable[[np.ndarray, Range], Range] | None] = {
    "minmax": None,
    "percentile": percentile,
    "mse": least_squares,
}
"""Method -> how it narrows the range from minimum to maximum, given a histogram over it."""


def kernel_limits(
    kernel: np.ndarray, axes: tuple[int, ...], *, least_error: bool, powers: np.ndarray | None = None
) -> np.ndarray:
    """For each output channel the largest weight that int8 represents: the channel's largest, or the one with the
    least squared error.

    Args:
        kernel: float.
        axes: those that run over output channels.
        least_error: whether clipping is allowed.
        powers: mean square of each input channel, by which errors of its weights count; all alike by default.
    """
    rank = kernel.ndim
    channels = [axis % rank for axis in axes]
    flat = np.moveaxis(kernel, channels, range(-len(channels), 0))
    flat = flat.reshape(-1, int(np.prod([kernel.shape[axis] for axis in channels])))
    largest = np.abs(flat).max(axis=0)
    if not least_error:
        return largest
    weights: np.ndarray = np.ones(len(flat), np.float32)
    if powers is not None and len(channels) == 1 and len(flat) == len(powers) * math.prod(kernel.shape[:-2]):
        weights = np.resize(powers, len(flat)).astype(np.float32)  # rows are ordered (height, width, input channel)
    parts = -(-flat.size // _PART)
    limits = [
        _best_limits(np.ascontiguousarray(flat[:, chosen]), largest[chosen], weights)
        for chosen in np.array_split(np.arange(flat.shape[1]), min(parts, flat.shape[1]))
    ]
    return np.concatenate(limits)


def _best_limits(columns: np.ndarray, largest: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each column the largest value that rounds it with the least weighed squared error."""
    step = np.maximum(largest / 127, 1e-12)
    errors, rounded = [], np.empty_like(columns)
    for shrink in _SHRINKS:
        own = np.float32(shrink) * step
        np.divide(columns, own, out=rounded)
        np.rint(rounded, out=rounded)
        np.clip(rounded, -127, 127, out=rounded)
        rounded *= own
        rounded -= columns
        np.square(rounded, out=rounded)
        errors.append(weights @ rounded)
    return largest * _SHRINKS[np.argmin(errors, axis=0)]
