"""Post-training reconstruction: part by part, rounding, biases and ranges are learned against the float network.

Sources: Li et al., "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction" (2021), for the
parts; Wei et al., "QDrop: Randomly Dropping Quantization for Extremely Low-bit Post-Training Quantization" (2022), for
inputs that are mixed of float and integer values; AdaRound for kernels, see `rounding`.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.progress import bar
from keras_yolo_backbones.quantization.apply import apply
from keras_yolo_backbones.quantization.calibration import calibration_images
from keras_yolo_backbones.quantization.kernels import FLOAT
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.part_outputs import Outputs, Run, compiled
from keras_yolo_backbones.quantization.planning import lowered
from keras_yolo_backbones.quantization.ranges import Plan, as_plan
from keras_yolo_backbones.quantization.reconstructed import Finished
from keras_yolo_backbones.quantization.rounding import LearnedRounding
from keras_yolo_backbones.quantization.segments import Call, Segment, float_calls, own_layers, segments

MOST = 64
"""Images that are learned from, of those given: their features are kept in memory, part by part."""

HELD_OUT = 5
"""One image in so many is not learned from; what does not help on these is undone."""

_HELD_OUT_ROWS = slice(HELD_OUT - 1, None, HELD_OUT)
_RATES = {"rounding": 1e-2, "biases": 1e-3, "ranges": 1e-4}


def reconstruct(
    model: keras.Model,
    plan: Plan | str | os.PathLike[str],
    images: Any,
    *,
    steps: int = 150,
    batch_size: int = 8,
    checkpoints: str | os.PathLike[str] | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> keras.Model:
    """A fake-quantized model whose rounding, biases and ranges were learned part by part, without labels.

    The network is cut where a single tensor goes through, mostly after each of its units. Part after part learns to
    give the float network's output on what the parts before it give in integers. A part stays as the plan has it if it
    is not better for it on held-out images, or if the outputs of the whole network are worse.

    Args:
        model: float, functional, one image input; left untouched.
        plan: of this model, or its `.json` file.
        images: as calibration images; 64 are enough.
        steps: of training, for each part.
        batch_size: images a step.
        checkpoints: a folder. Parts that a killed run finished there are not learned again.
        seed: of batches and of the mixing of inputs.
        quiet: show no progress bar.

    Returns:
        A model as `quantize_aware` returns it, to export or to train on.

    Raises:
        ArgumentError: `plan` is none, a number is not positive, or the checkpoint is of a different run.
        CalibrationError: images that cannot be used, or a plan of a different model.
    """
    primitive = lowered(model)
    ready = as_plan(plan, model.name)
    if ready is None:
        raise ArgumentError("plan: expected a Plan or its .json file, as kyb.quantization.plan(…) makes it.")
    for name, value in (("steps", steps), ("batch_size", batch_size)):
        if not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name}={value!r}: expected a number of at least 1.")
    signature = image_input(model)
    samples = calibration_images(images, shape=signature.sized(None), preprocessing=signature.preprocessing, most=MOST)
    aware = apply(ready, primitive, signature.preprocessing.range, learn_ranges=True)
    graph = read(aware)
    parts, calls = segments(graph), float_calls(graph, primitive)
    runs, floats = [compiled(part, {}) for part in parts], [compiled(part, calls) for part in parts]
    given = wanted = samples.batch()
    outputs = Outputs(runs, floats, wanted[_HELD_OUT_ROWS])
    finished = Finished(
        aware, {"steps": steps, "batch_size": batch_size, "seed": seed, "images": samples.digest()}, checkpoints
    )
    with bar(quiet=quiet) as progress:
        task = progress.add_task("reconstructing", total=len(parts))
        for index, part in enumerate(parts):
            goals = floats[index](wanted)
            if index >= finished.count:
                random, layers = np.random.default_rng((seed, index)), own_layers(part, parts)
                job = _Part(part, runs[index], given, wanted, goals, layers, random)
                job.learn(steps, batch_size, functools.partial(outputs.allow, index, given[_HELD_OUT_ROWS]))
                finished.record(index + 1)
            given, wanted = runs[index](given)[0], goals[0]
            progress.update(task, completed=index + 1)
    return _frozen(aware, ready, primitive, signature.preprocessing.range)


def _frozen(aware: keras.Model, plan: Plan, primitive: keras.Model, images: tuple[float, float]) -> keras.Model:
    """The same weights and ranges in a model whose ranges are fixed: it computes exactly what the file will."""
    ranges = dict(plan.ranges)
    for layer in aware.layers:
        if isinstance(layer, FakeQuant):
            low, high = np.asarray(layer.range)
            ranges[layer.name.removesuffix(".quant")] = float(low), float(high)
        elif type(layer) in FLOAT:
            primitive.get_layer(layer.name).set_weights(layer.get_weights())
    return apply(dataclasses.replace(plan, ranges=ranges, biases={}), primitive, images)


class _Part:
    """One part, its inputs and what it should make of them.

    Args:
        part: to be learned.
        run: it, as it is at the time.
        given: its inputs, in integers.
        wanted: those of the float network.
        goals: `end` and what is returned, of the float network, for all images.
        layers: its own.
        random: chooses images, and where inputs are mixed.
    """

    def __init__(
        self,
        part: Segment,
        run: Run,
        given: np.ndarray,
        wanted: np.ndarray,
        goals: list[np.ndarray],
        layers: list[Any],
        random: np.random.Generator,
    ) -> None:
        self._part, self._run, self._given, self._wanted, self._goals = part, run, given, wanted, goals
        self._random = random
        self._kernels = [layer for layer in layers if type(layer) in FLOAT]
        self._quants = [layer for layer in layers if isinstance(layer, FakeQuant) and layer.shift is not None]
        self._power = [float(np.mean(np.square(goal, dtype=np.float64))) + 1e-12 for goal in goals]

    def learn(self, steps: int, batch_size: int, accepted: Callable[[], bool]) -> None:
        """Train; undone if held-out images are not better for it here, or the whole network is not `accepted`."""
        layers = [*self._kernels, *self._quants]
        before, error = [layer.get_weights() for layer in layers], self._held_out()
        self._train(steps, batch_size)
        if not (self._held_out() < error and accepted()):
            for layer, weights in zip(layers, before, strict=True):
                layer.set_weights(weights)

    def _held_out(self) -> float:
        """Error in units of power on the images that are not learned from."""
        found = self._run(self._given[_HELD_OUT_ROWS])
        errors = [np.mean(np.square(f - goal[_HELD_OUT_ROWS])) for f, goal in zip(found, self._goals, strict=True)]
        return float(sum(error / power for error, power in zip(errors, self._power, strict=True)))

    def _train(self, steps: int, batch_size: int) -> None:
        kernels = [LearnedRounding(layer) for layer in self._kernels]
        calls: dict[int, Call] = {id(k.layer): k for k in kernels}
        groups = {
            "rounding": [kernel.variable for kernel in kernels],
            "biases": [layer.bias for layer in self._kernels if layer.use_bias],
            "ranges": [quant.shift for quant in self._quants],
        }
        groups = {name: variables for name, variables in groups.items() if variables}
        optimizers = {name: keras.optimizers.Adam(_RATES[name]) for name in groups}
        for name, variables in groups.items():
            optimizers[name].build(variables)

        @tf.function(autograph=False)
        def step(inputs: tf.Tensor, goals: list[tf.Tensor], power: tf.Tensor, weight: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                found = self._part.run(inputs, calls)
                pairs = zip(found, goals, self._power, strict=True)
                loss = tf.add_n([tf.reduce_mean(tf.square(f - goal)) / p for f, goal, p in pairs])
                loss += weight * tf.add_n([kernel.undecided(power) for kernel in kernels])
            gradients = tape.gradient(loss, groups)
            for name, variables in groups.items():
                optimizers[name].apply(gradients[name], variables)

        rows = np.array([row for row in range(len(self._given)) if row % HELD_OUT != HELD_OUT - 1])
        for index in range(steps):
            chosen = self._random.choice(rows, min(batch_size, len(rows)), replace=False)
            mixed = self._random.random(self._given[chosen].shape, np.float32) < 0.5
            inputs = np.where(mixed, self._given[chosen], self._wanted[chosen])
            done = index / steps
            power, weight = tf.constant(20 - 18 * done, tf.float32), tf.constant(0.01 * (done > 0.2), tf.float32)
            step(tf.constant(inputs), [tf.constant(goal[chosen]) for goal in self._goals], power, weight)
        for kernel in kernels:
            kernel.harden()
