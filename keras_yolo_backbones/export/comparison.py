"""The gate of every exporter: an artifact that disagrees with its model is an error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import ExportError
from keras_yolo_backbones.graph.agreement import Agreement, agreement
from keras_yolo_backbones.graph.rewrite import recast
from keras_yolo_backbones.graph.running import run

LEAST_SNR_DB = {"float32": 60.0, "float16": 20.0, "dynamic": 6.0, "int8": 3.0, "int16x8": 6.0}
"""Precision -> the weakest signal-to-noise ratio of a level that passes, in dB.

The bounds tell a wrong artifact from a right one, not a good network from a bad one: they hold for random weights too,
which amplify every rounding through the depth. There an int8 network may be as weak as 5 dB on its topmost level, where
a trained one has 20 dB and more. Below 3 dB half of the signal is noise, and the file is not the model.
"""

SIMULATION_SNR_DB = 20.0
"""The same for an int8 file against the fake-quantized model that it was made from."""

_ABOVE_FLOAT_DB = 3.0

_ADVICE = "Check that the weights are trained and finite."

_TOGETHER = 4 * 640 * 640
"""Pixels that the model runs on at a time."""


def least_of_simulation(floats: Mapping[str, Agreement]) -> float:
    """The bound for an int8 file against its fake-quantized model, given how the file agrees with the float network.

    Both round the same values; they differ where float arithmetic moves a tie to the other side. One such value is
    nothing, but a network with random weights makes it as large as all of int8's rounding: there the bound is 3 dB
    above the agreement with the float network. A file that follows a different plan has the same distance to both.
    """
    return min(SIMULATION_SNR_DB, min(found.snr_db for found in floats.values()) + _ABOVE_FLOAT_DB)


Runner = Callable[[Any], Mapping[str, np.ndarray]]
"""Runs an artifact on a batch, usually (batch, height, width, channels) float32; returns float32 outputs by name."""


def check_images(
    shape: tuple[int, int, int], span: tuple[float, float], *, count: int = 1, seed: int = 0
) -> np.ndarray:
    """Random images to compare on: smooth and of 256 values, because photographs are, too.

    What lies between two pixel values would be rounded at the input to one or the other side, and int8 would be blamed.

    Returns:
        (count, height, width, channels) float32 within `span`.
    """
    random = np.random.default_rng(seed)
    height, width, channels = shape
    coarse = random.random((count, -(-height // 8), -(-width // 8), channels), np.float32)
    fine = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width]
    low, high = map(np.float32, span)
    pixels = np.rint((fine * 0.8 + random.random(fine.shape, np.float32) * 0.2) * 255)
    return pixels / np.float32(255) * (high - low) + low


def compare(
    model: keras.Model,
    runner: Runner,
    images: Sequence[Any],
    *,
    what: str,
    least_snr_db: float,
    reference: str = "model",
    advice: str = _ADVICE,
) -> dict[str, Agreement]:
    """Run the artifact and the model on the same batches and compare every output.

    Args:
        model: the reference: as a rule the model that the user passed, not the one that was converted. If it computes
            in less than float32, it is run in float32, because its own rounding is no fault of the artifact.
        runner: the artifact.
        images: batches.
        what: the artifact, for the error message.
        least_snr_db: the bound.
        reference: what the model is, for the error message.
        advice: what the user can do about an artifact that is too weak.

    Raises:
        ExportError: an output is missing, has another shape, is not finite or is weaker than the bound.
    """
    expected = _outputs(in_float32(model), list(images))
    pairs = [(wanted, runner(batch)) for wanted, batch in zip(expected, images, strict=True)]
    return agreements(pairs, what=what, least_snr_db=least_snr_db, reference=reference, advice=advice)


def agreements(
    pairs: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
    *,
    what: str,
    least_snr_db: float,
    reference: str = "model",
    advice: str = _ADVICE,
) -> dict[str, Agreement]:
    """`compare`, given (outputs of the model, outputs of the artifact) for each batch."""
    names, given = list(pairs[0][0]), list(pairs[0][1])
    if sorted(names) != sorted(given):
        raise ExportError(f"{what} has the outputs {', '.join(given)}; the model has {', '.join(names)}.")
    found = {}
    for name in names:
        wanted, candidate = (np.concatenate([pair[side][name].ravel() for pair in pairs]) for side in (0, 1))
        shapes = pairs[0][0][name].shape, pairs[0][1][name].shape
        if shapes[0] != shapes[1]:
            raise ExportError(f"{what}: {name} has the shape {shapes[1]}; the model gives {shapes[0]}.")
        found[name] = agreement(wanted, candidate)
    weak = [f"{name} {result.snr_db:.1f} dB" for name, result in found.items() if not result.snr_db >= least_snr_db]
    if weak:
        raise ExportError(
            f"{what} does not follow the {reference}: {', '.join(weak)}; "
            f"at least {least_snr_db:g} dB are expected. {advice}"
        )
    return found


def _outputs(model: Any, batches: list[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """What a model returns for each batch. Small ones run together: a call costs more than an image."""
    one_by_one = model.inputs[0].shape[0] is not None or len({batch.shape for batch in batches}) > 1
    count = 1 if one_by_one else max(1, _TOGETHER // math.prod(batches[0].shape[:3]))
    for start in range(0, len(batches), count):
        part = batches[start : start + count]
        found, size = run(model, np.concatenate(part)), len(part[0])
        for first in range(0, size * len(part), size):
            yield {name: values[first : first + size] for name, values in found.items()}


def in_float32(model: Any) -> Any:
    """The float32 twin of a model in which some layer computes in less; every other model itself."""
    kinds = {getattr(layer, "compute_dtype", "float32") for layer in model.layers}
    return recast(model, "float32") if kinds & {"float16", "bfloat16"} else model
