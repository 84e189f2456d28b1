"""How arrays are compared, and what the collector is spared."""

from __future__ import annotations

import gc
import math

import numpy as np
import pytest

from keras_yolo_backbones.garbage import old_objects_kept
from keras_yolo_backbones.graph.agreement import Agreement, agreement

SIZE = 100_003
"""Several parts of those that are compared at a time, and a rest."""


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    reference = random.standard_normal(SIZE, np.float32)
    return reference, reference + np.float32(0.01) * random.standard_normal(SIZE, np.float32)


def test_it_is_over_all_elements(arrays):
    found = agreement(*arrays)
    a, b = (array.astype(np.float64) for array in arrays)
    assert found.max_error == np.abs(a - b).max()
    assert found.relative == found.max_error / np.abs(a).max()
    assert found.snr_db == pytest.approx(10 * math.log10(np.sum(a**2) / np.sum((a - b) ** 2)), abs=1e-9)
    assert found.cosine == pytest.approx(np.sum(a * b) / math.sqrt(np.sum(a**2) * np.sum(b**2)), abs=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_one_value_that_is_not_finite_is_no_agreement(arrays, value, side):
    pair = [array.copy() for array in arrays]
    pair[side][-1] = value
    assert agreement(*pair) == Agreement(math.inf, math.inf, -math.inf, 0.0)


@pytest.mark.parametrize(
    ("reference", "candidate", "found"),
    [
        ([0.0, 0.0], [0.0, 0.0], Agreement(0.0, 0.0, math.inf, 1.0)),
        ([0.0, 0.0], [0.0, 2.0], Agreement(2.0, math.inf, -math.inf, 0.0)),
        ([3.0, 4.0], [0.0, 0.0], Agreement(4.0, 1.0, 0.0, 0.0)),
        ([], [], Agreement(0.0, 0.0, math.inf, 1.0)),
    ],
)
def test_arrays_of_zeros(reference, candidate, found):
    assert agreement(np.float32(reference), np.float32(candidate)) == found


def test_shapes_that_differ():
    with pytest.raises(ValueError, match=r"shapes differ: \(2,\) and \(3,\)"):
        agreement(np.zeros(2), np.zeros(3))


def test_old_objects_are_kept_for_the_block_only():
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    try:
        with old_objects_kept():
            assert gc.get_freeze_count() > 10_000
        assert gc.get_freeze_count() == 0
        gc.freeze()
        with old_objects_kept():
            pass
        assert gc.get_freeze_count() > 10_000, "what the caller froze is frozen still"
    finally:
        gc.unfreeze()
        if frozen:
            gc.freeze()
