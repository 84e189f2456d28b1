"""Steps for which runtimes round as XNNPACK does, also what float32 can hardly tell from half way between two steps."""

from __future__ import annotations

import numpy as np

_ERROR = 2.0**-16
"""In steps: what float32 is off by, between 128 and 256."""

_SHARES = np.array([0, *(sign * 2.0**-power for power in range(24, 15, -1) for sign in (1, -1))])
"""By which shares the step may become smaller, the least first."""


def agreeing_scale(reals: np.ndarray, wanted: np.ndarray, weights: np.ndarray, scale: float) -> float:
    """The scale beside `scale` with which most values are rounded to the integers that TFLite has.

    Args:
        reals: values before they are rounded, in units of `scale`, float64.
        wanted: the integer that each becomes, without a zero point.
        weights: how much each counts.
        scale: float32.

    Returns:
        float32, at most 2^-16 away; `scale` itself unless another one is better.
    """
    near = np.abs(np.abs(reals - np.floor(reals)) - 0.5) < 2.0**-7  # others are rounded alike with every scale
    reals, wanted, weights = reals[near], wanted[near], weights[near]
    scales = (scale * (1 - _SHARES)).astype(np.float32)
    values = reals * (scale / scales.astype(np.float64))[:, None]
    wrong = (np.rint(values - _ERROR) != wanted) | (np.rint(values + _ERROR) != wanted)
    return float(scales[np.argmin(wrong @ weights)])


def sum_as_in_xnnpack(first: np.ndarray, second: np.ndarray, ratios: tuple[float, float]) -> np.ndarray:
    """Integers for sums of two integers: factors of 21 bits, and halves go up.

    Args:
        first: integers without zero point.
        second: the same of the other tensor.
        ratios: the steps of both, in units of the sum's step.
    """
    exponent = int(np.frexp(max(ratios))[1]) - 1
    factors = [np.rint(np.float32(ratio) * 2.0 ** (20 - exponent)) for ratio in ratios]
    return np.floor((first * factors[0] + second * factors[1]) / 2.0 ** (20 - exponent) + 0.5)


def product_as_in_xnnpack(products: np.ndarray, ratio: float) -> np.ndarray:
    """Integers for products of integers: one factor in float32, and halves go to the even neighbour.

    Args:
        products: whole numbers.
        ratio: the product of the steps of both, in units of the result's step.
    """
    return np.rint(np.float32(products) * np.float32(ratio)).astype(np.float64)
