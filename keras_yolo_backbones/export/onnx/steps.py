"""The gate of int8 ONNX files: how many steps of its integers a file is away from its fake-quantized model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.comparison import Runner
from keras_yolo_backbones.export.onnx.grids import Grid
from keras_yolo_backbones.graph.running import run

LEAST_WITHIN = 0.5
"""The share of the values of an output that has to lie within two steps of the model's.

A trained ReLU6 network has 0.999 and more. SiLU, and weights that are random, make several steps of one that fell to
the other side; a wrong scale or zero point anywhere leaves next to nothing within two steps.
"""


def compare_steps(
    aware: keras.Model, runner: Runner, images: Sequence[Any], grids: Mapping[str, Grid], *, what: str
) -> dict[str, dict[str, float]]:
    """Compare every output that is rounded, in steps.

    Args:
        aware: the fake-quantized model.
        runner: the file.
        images: batches.
        grids: output name -> its integers.
        what: the file, for the error message.

    Returns:
        Output name -> share of its values that are `"equal"`, `"within_1"` and `"within_2"` steps.

    Raises:
        ExportError: an output is further away than `LEAST_WITHIN` allows.
    """
    pairs = [(run(aware, batch), runner(batch)) for batch in images]
    found = {}
    for name in (name for name in pairs[0][0] if name in grids):
        wanted, given = (np.concatenate([pair[side][name].ravel() for pair in pairs]) for side in (0, 1))
        distance = np.rint(np.abs(wanted - given) / grids[name].scale)
        shares = {"equal": 0, "within_1": 1, "within_2": 2}
        found[name] = {share: round(float(np.mean(distance <= steps)), 6) for share, steps in shares.items()}
    weak = [f"{name} {shares['within_2']:.0%}" for name, shares in found.items() if shares["within_2"] < LEAST_WITHIN]
    if weak:
        raise ExportError(
            f"{what} does not follow the fake-quantized model: of its values {', '.join(weak)} are within two steps; "
            f"at least {LEAST_WITHIN:.0%} are expected. Check that the weights are trained and finite."
        )
    return found
