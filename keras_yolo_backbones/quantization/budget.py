"""A quality instead of a list of measures: the cheapest of them that keeps every level above a bound."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.quantization.apply import apply
from keras_yolo_backbones.quantization.aware import quantize_aware
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.distillation import distill
from keras_yolo_backbones.quantization.frontier import draw_frontier
from keras_yolo_backbones.quantization.integer_form import float_form
from keras_yolo_backbones.quantization.planning import lowered, plan
from keras_yolo_backbones.quantization.ranges import Plan
from keras_yolo_backbones.quantization.reconstruction import reconstruct
from keras_yolo_backbones.quantization.sensitivity import units_by_gain

MEASURED = 8
"""Held-out images that quality is measured on, at most."""


@dataclasses.dataclass(frozen=True)
class Point:
    """What one set of measures reaches.

    Attributes:
        measures: in words.
        db: signal-to-noise ratio of every level on held-out images.
        float_macs: share of the multiply-accumulates that are computed in float.
        milliseconds: latency of the file, where it was measured.
    """

    measures: str
    db: dict[str, float]
    float_macs: float = 0.0
    milliseconds: float | None = None

    @property
    def weakest(self) -> float:
        """dB of the weakest level."""
        return min(self.db.values())

    def __str__(self) -> str:
        time = f"{self.milliseconds:7.1f}" if self.milliseconds is not None else f"{'':>7}"
        levels = " ".join(f"{name} {ratio:.1f}" for name, ratio in self.db.items())
        return f"{self.weakest:7.1f} {time} {self.float_macs:10.1%}  {self.measures} ({levels})"


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a search found.

    Attributes:
        least_db: the bound.
        points: all sets of measures that were tried, in that order.
        model: the fake-quantized model of the first that meets the bound; of the best, if none does.
        chosen: its point.
    """

    least_db: float
    points: list[Point]
    model: keras.Model
    chosen: Point

    @property
    def met(self) -> bool:
        """Whether the bound is met."""
        return self.chosen.weakest >= self.least_db

    def __str__(self) -> str:
        """The table, and what came of it."""
        head = f"{'dB':>7} {'ms':>7} {'float MACs':>10}  measures"
        end = f"{self.chosen.measures}: {self.chosen.weakest:.1f} dB"
        if not self.met:
            end = f"{self.least_db:g} dB cannot be met by these measures; the best is {end}"
        return "\n".join([head, *map(str, self.points), end])

    def save_plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the weakest level against latency, or against MACs left in float where no latency was measured."""
        draw_frontier(self, Path(path))


def at_least(
    model: keras.Model,
    images: Any,
    least_db: float,
    *,
    epochs: int | None = None,
    parts: int = 150,
    most_float: float = 0.5,
    latency: Callable[[keras.Model], float] | None = None,
    quiet: bool = False,
) -> Budget:
    """The cheapest measures with which every level of the int8 file has `least_db` against the float model.

    Tried in turn until one does: ranges by `method="auto"`, `reconstruct`, `distill`: these cost time now, and nothing
    later. Then more and more units stay float, those first that bring most for their multiply-accumulates: for each
    unit it is measured how much noise of the weakest level is gone without its rounding.

    Args:
        model: float, functional, one image input; left untouched.
        images: as calibration images; a fifth is held out to measure on.
        least_db: signal-to-noise ratio, such as 25.
        epochs: of `distill`, by default as many as it finds good; 0 leaves it out.
        parts: steps of `reconstruct` for each part; 0 leaves it out.
        most_float: the largest share of the multiply-accumulates that may be computed in float.
        latency: measures milliseconds for a fake-quantized model, for the table.
        quiet: show no progress bars.

    Raises:
        ArgumentError: `least_db` is no number.
        CalibrationError: images that cannot be used.
    """
    check_model(model)
    if not 0 < least_db < 200:
        raise ArgumentError(f"least_db={least_db!r}: expected dB between 0 and 200, such as 25.")
    signature = image_input(model)
    samples = calibration_images(images, shape=signature.sized(None), preprocessing=signature.preprocessing)
    held_out = [index for index in range(len(samples)) if index % 5 == 4]
    rest = samples.chosen([index for index in range(len(samples)) if index % 5 != 4])
    search = _Search(model, samples.chosen(held_out[:MEASURED]), least_db, latency)
    options: dict[str, Any] = {"quiet": quiet}
    steps = _steps(model, rest, epochs, parts, most_float, search, options)
    for measures, aware, share in steps:
        if search.met(measures, aware, share):
            break
    return search.budget()


def _steps(
    model: keras.Model,
    images: Calibration,
    epochs: int | None,
    parts: int,
    most_float: float,
    search: _Search,
    options: dict[str, Any],
) -> Iterator[tuple[str, keras.Model, float]]:
    """Sets of measures, the cheapest first: words, the fake-quantized model, share of MACs in float."""
    ranges = plan(model, images)
    yield ranges.method, quantize_aware(model, ranges), 0.0
    if parts:
        yield "reconstruct", reconstruct(model, ranges, images, steps=parts, **options), 0.0
    if epochs != 0:
        tuned = keras.models.clone_model(search.best)
        tuned.set_weights(search.best.get_weights())
        distill(model, tuned, images, epochs=epochs, **options)
        yield "distill", tuned, 0.0
    best, found = search.best, search.best_measures
    base, fixed = (model, ranges) if found == ranges.method else (float_form(best), _plan_of(best, ranges))
    primitive, images_range = lowered(base), image_input(model).preprocessing.range
    units = units_by_gain(best, primitive, model, search.images, search.weakest)
    count = 1
    while count <= len(units):
        chosen = units[:count]
        share = sum(unit.macs for unit in chosen)
        if share > most_float:
            break
        kept = [unit.name for unit in chosen]
        yield f"{found}, float: {', '.join(kept)}", apply(fixed, primitive, images_range, keep_float=kept), share
        count = max(count + 1, round(count * 1.5))


def _plan_of(aware: keras.Model, ranges: Plan) -> Plan:
    """The plan that a fake-quantized model follows now; its biases are in its weights."""
    now = {
        name: tuple(map(float, np.asarray(aware.get_layer(f"{name}.quant").range)))
        for name in ranges.ranges
        if f"{name}.quant" in {layer.name for layer in aware.layers}
    }
    return dataclasses.replace(ranges, ranges=dict(ranges.ranges) | now, biases={})  # type: ignore[arg-type]


class _Search:
    """Points so far, and the best model."""

    def __init__(
        self, model: keras.Model, images: Calibration, least_db: float, latency: Callable[[keras.Model], float] | None
    ) -> None:
        self.images, self._least_db, self._latency = images, least_db, latency
        self._batch = images.batch()
        self._wanted = run(model, self._batch)
        self._points: list[Point] = []
        self._best: tuple[Point, keras.Model] | None = None

    def met(self, measures: str, aware: keras.Model, float_macs: float) -> bool:
        """Measure a model; whether it meets the bound."""
        given = run(aware, self._batch)
        db = {name: agreement(self._wanted[name], given[name]).snr_db for name in self._wanted}
        point = Point(measures, db, float_macs, self._latency(aware) if self._latency else None)
        self._points.append(point)
        if self._best is None or point.weakest > self._best[0].weakest:
            self._best = point, aware
        return point.weakest >= self._least_db

    @property
    def best(self) -> keras.Model:
        """The model with the best weakest level so far."""
        assert self._best is not None
        return self._best[1]

    @property
    def best_measures(self) -> str:
        """What it is made by."""
        assert self._best is not None
        return self._best[0].measures

    @property
    def weakest(self) -> str:
        """The weakest level of the best model."""
        assert self._best is not None
        db = self._best[0].db
        return min(db, key=db.__getitem__)

    def budget(self) -> Budget:
        """What was found."""
        assert self._best is not None
        return Budget(self._least_db, self._points, self.best, self._best[0])
