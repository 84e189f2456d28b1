"""Ranges chosen by the error that they cause at the outputs of the network, not by the error of the tensor itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

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
    below, above = _Clipping(), _Clipping()
    inside = np.zeros(BINS)
    for member in members:
        values = member.function(middle)
        inside += member.squares * np.square(np.gradient(values, middle))
        below.add((values - member.function(lows)[:, None]) * (middle < lows[:, None]), member)
        above.add((values - member.function(highs)[:, None]) * (middle > highs[:, None]), member)
    if not inside.any():
        return bounds
    total = np.concatenate([[0.0], np.cumsum(inside)])
    rounded = total[np.searchsorted(edges, highs, "right") - 1][None] - total[np.searchsorted(edges, lows)][:, None]
    steps = (highs[None] - lows[:, None]) / 255
    if symmetric:
        steps = np.maximum(-lows[:, None] / 128, highs[None] / 127)
    errors = below.power[:, None] + above.power[None] + rounded * np.square(steps) / 12
    low, high = np.unravel_index(np.argmin(errors), errors.shape)
    found = float(lows[low]), float(highs[high])
    return balanced(found) if symmetric else found


class _Clipping:
    """What clipping at one end does to the outputs, for each candidate of that end."""

    def __init__(self) -> None:
        self._summed: Any = 0.0
        self._single: Any = 0.0

    def add(self, errors: np.ndarray, member: Member) -> None:
        """Count a tensor.

        Args:
            errors: (candidates, bins).
            member: of the tensor.
        """
        self._summed = self._summed + errors @ member.slopes.T
        self._single = self._single + np.square(errors) @ member.squares

    @property
    def power(self) -> np.ndarray:
        """(candidates,): the square of all errors' sum, a mean over images; at least half the sum of their squares.

        The slopes' signs are random: where few values are clipped, those of some candidate cancel by chance. The sum of
        squares is what to expect of errors that do not add up; half of it was best on trained networks.
        """
        return np.maximum(np.square(self._summed).mean(1), self._single / 2)
