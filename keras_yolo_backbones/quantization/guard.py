"""Whether calibration images can be trusted: dark screenshots say nothing of the light ones to come."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np

from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.quantization.apply import apply
from keras_yolo_backbones.quantization.calibration import Calibration
from keras_yolo_backbones.quantization.ranges import Plan

USED = 0.6
"""Images whose middle 95 % of values fill less of the input's range than this are tried with more contrast too."""

TRIED = 4
"""Images that plans are tried on."""


def contrast(images: Calibration) -> tuple[float, float]:
    """The middle 95 % of all values, as (smallest, largest), in units of the input's range."""
    low, high = images.preprocessing.range
    values = np.concatenate([images[index].ravel()[::97] for index in range(len(images))])
    first, last = np.percentile((values - low) / (high - low), [2.5, 97.5])
    return float(first), float(last)


def stretched(images: Calibration, ends: tuple[float, float]) -> Calibration:
    """A few of the images with the contrast that ordinary photographs have."""
    low, high = images.preprocessing.range
    width = (high - low) * max(ends[1] - ends[0], 1e-3)
    start = low + ends[0] * (high - low)
    shares = np.clip((images.evenly(TRIED).batch() - start) / width, 0, 1)
    return Calibration(list(np.asarray(low + shares * (high - low), np.float32)), images.preprocessing)


def guarded(first: Plan, second: Callable[[], Plan], primitive: keras.Model, images: Calibration) -> Plan:
    """`first`, unless the images have little contrast and with more of it what `second` makes is the better plan."""
    ends = contrast(images)
    if ends[1] - ends[0] >= USED:
        return first
    return better(first, second(), primitive, stretched(images, ends))


def better(first: Plan, second: Plan, primitive: keras.Model, images: Calibration) -> Plan:
    """The plan that keeps more of the float network's outputs on `images`, on average over them, in dB."""
    batch = images.batch()
    wanted = run(primitive, batch)

    def quality(plan: Plan) -> float:
        given = run(apply(plan, primitive, images.preprocessing.range), batch)
        return float(np.mean([agreement(wanted[name], given[name]).snr_db for name in wanted]))

    return first if quality(first) >= quality(second) else second
