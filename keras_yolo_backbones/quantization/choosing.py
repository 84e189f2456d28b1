"""Ranges chosen by the error that they cause at the outputs of the network, not by the error of the tensor itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_yolo_backbones.quantization.ranges import Range, balanced
from keras_yolo_backbones.quantization.weighing import BINS, Function, Weighed, centres

CANDIDATES = 256
"""How many ends of a range are tried on either side."""


def choose(weighed: Weighed, ranges: Mapping[str, Range], *, centred: Collection[str] = ()) -> dict[str, Range]:
    """For each group the range within its own that causes the least error at the outputs; zero in the middle if asked.

    Args:
        weighed: the histograms.
        ranges: group -> the widest range allowed.
        centred: the groups whose range has zero in its middle.
    """
    members: dict[str, list[int]] = {}
    for index, one in enumerate(weighed.watched):
        members.setdefault(one.group, []).append(index)
    return {
        group: least_error(
            [Member(weighed.watched[i].function, *weighed.over(i, ranges[group])) for i in found],
            ranges[group],
            group in centred,
        )
        for group, found in members.items()
    }


class Member(NamedTuple):
    """A tensor that has the range that is sought, and histograms of it over the widest range allowed.

    Attributes:
        function: errors count after it.
        squares: (bins,) sums of squared slopes: what independent errors do.
        slopes: (images, bins) sums of slopes: what errors of one sign do.
    """

    function: Function
    squares: np.ndarray
    slopes: np.ndarray


def least_error(members: Sequence[Member], bounds: Range, symmetric: bool = False) -> Range:
    """The range that causes the least squared error at the outputs after rounding and clipping.

    Args:
        members: the tensors that have the range.
        bounds: the widest range allowed.
        symmetric: whether zero has to be in its middle.
    """
    edges, middle = np.linspace(*bounds, BINS + 1), centres(*bounds)
    shares = np.linspace(0, 1, CANDIDATES + 1)[1:]
    lows, highs = bounds[0] * shares, bounds[1] * shares
    lows, highs = (ends if ends.any() else np.zeros(1) for ends in (lows, highs))
    images = len(members[0].slopes)
    below, above = np.zeros((len(lows), images)), np.zeros((len(highs), images))
    inside = np.zeros(BINS)
    for function, squares, slopes in members:
        values = function(middle)
        inside += squares * np.square(np.gradient(values, middle))
        below += (values - function(lows)[:, None]) * (middle < lows[:, None]) @ slopes.T
        above += (values - function(highs)[:, None]) * (middle > highs[:, None]) @ slopes.T
    if not inside.any():
        return bounds
    total = np.concatenate([[0.0], np.cumsum(inside)])
    rounded = total[np.searchsorted(edges, highs, "right") - 1][None] - total[np.searchsorted(edges, lows)][:, None]
    steps = (highs[None] - lows[:, None]) / 255
    if symmetric:
        steps = np.maximum(-lows[:, None] / 128, highs[None] / 127)
    clipped = [np.square(ends).mean(1) for ends in (below, above)]
    errors = clipped[0][:, None] + clipped[1][None] + rounded * np.square(steps) / 12
    low, high = np.unravel_index(np.argmin(errors), errors.shape)
    found = float(lows[low]), float(highs[high])
    return balanced(found) if symmetric else found
