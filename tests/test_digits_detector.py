"""The digits example's own parts: what it teaches can be read back, and its metric knows right from wrong."""

from __future__ import annotations

import numpy as np


def test_targets_can_be_read_back(digits_example):
    data, detector = digits_example
    digits = data.make_digits(20, seed=5, training=False)
    assert digits.images.shape == (20, 64, 64, 3)
    scores, distances = data.targets(digits)
    assert scores.sum() == distances[..., 4].sum() >= sum(map(len, digits.labels)) * 0.9
    found = wanted = 0
    for index in range(20):
        told = detector.detections(scores[index] * 20 - 10, distances[index, ..., :4])
        for label, box in zip(digits.labels[index], digits.boxes[index], strict=True):
            wanted += 1
            found += any(one[0] == label and np.allclose(one[2:], box, atol=1e-4) for one in told)
    assert found >= 0.95 * wanted


def test_the_metric(digits_example, monkeypatch):
    data, _ = digits_example
    import evaluate

    digits = data.make_digits(10, seed=6, training=True)
    scores, distances = data.targets(digits)

    class Oracle:
        def __init__(self, wrong):
            self.wrong = wrong

        def __call__(self, _):
            return {"scores": np.roll(scores, self.wrong, -1) * 20 - 10, "boxes": distances[..., :4]}

    monkeypatch.setattr(evaluate, "LiteModel", Oracle)
    assert evaluate.mean_average_precision(0, digits) > 90
    assert evaluate.mean_average_precision(1, digits) < 30
