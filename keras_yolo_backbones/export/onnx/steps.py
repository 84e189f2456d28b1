"""The gate of int8 ONNX files: how many steps of its integers a file is away from its fake-quantized model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.blocks import MatMul
from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.export.comparison import Runner
from keras_yolo_backbones.export.onnx.grids import Grid
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.quantization.kernels import FLOAT
from keras_yolo_backbones.quantization.layers import FakeQuant

LEAST_WITHIN = {"convolutional": 0.9, "attention": 0.7, "approximate": 0.5}
"""Kind of network -> the share of the values of an output that has to lie within two steps of the model's.

Where the model computes the file's integers, networks of all families had 0.99 and more, with weights that are random:
a sum that falls to the other side of a tie makes several steps of one further on. Attention carries that to every cell.
The model is approximate with ranges that are learned, with kernels of 7 bits, and for int8 activations, where sigmoids
are not rounded. A wrong scale or zero point anywhere leaves next to nothing within two steps.
"""


def kind_of(aware: keras.Model, grids: Mapping[str, Grid]) -> str:
    """Key of `LEAST_WITHIN` for a fake-quantized model and the integers of its file."""
    learned = any(isinstance(layer, FakeQuant) and layer.learn for layer in aware.layers)
    rounded = any(type(layer) in FLOAT for layer in aware.layers)
    if learned or not rounded or any(grid.dtype == np.int8 for grid in grids.values()):
        return "approximate"
    return "attention" if any(isinstance(layer, MatMul) for layer in aware.layers) else "convolutional"


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
    least = LEAST_WITHIN[kind_of(aware, grids)]
    weak = [f"{name} {shares['within_2']:.0%}" for name, shares in found.items() if shares["within_2"] < least]
    if weak:
        raise ExportError(
            f"{what} does not follow the fake-quantized model: of its values {', '.join(weak)} are within two steps; "
            f"at least {least:.0%} are expected. Check that the weights are trained and finite."
        )
    return found
