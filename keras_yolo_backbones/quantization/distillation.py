"""Label-free training: a fake-quantized model (or any student) learns to compute its teacher's feature maps."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import image_input, named_outputs
from keras_yolo_backbones.progress import bar
from keras_yolo_backbones.provenance import weights_digest
from keras_yolo_backbones.quantization.calibration import Calibration, calibration_images
from keras_yolo_backbones.quantization.history import Distilled, History

HELD_OUT = 0.2
"""The share of the images that is never trained on and decides which weights are kept."""

STEPS = 400
"""Steps that training takes by default, in `EPOCHS`: trained networks gain most in these."""

EPOCHS = (10, 60)
"""The fewest and most passes over the images by default."""

WARM_UP = 0.1
"""The share of all steps in which the learning rate rises: the first gradients of rounded weights point anywhere."""


def distill(
    teacher: keras.Model,
    student: keras.Model,
    images: Any,
    *,
    epochs: int | None = None,
    batch_size: int = 8,
    learning_rate: float = 3e-5,
    patience: int | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Distilled:
    """Train `student` to compute the outputs of `teacher`, without labels.

    The loss of a level is its squared error as a share of the teacher's power: 0.01 is 20 dB. Batch norms, if the
    student has any, stay as they are. Adam, warm-up, cosine decay; half of the images are mirrored, others each epoch.
    A fifth of the images is held out. What is measured on these and kept are weights averaged over about an epoch; the
    student ends with those of the epoch that was best, which may be those it came with.

    Args:
        teacher: float, left untouched.
        student: from `quantize_aware`, or any model with the same inputs and output names. Changed in place.
        images: as calibration images.
        epochs: at most so many passes over the images; by default 10 to 60, as many as make 400 steps.
        batch_size: images a step.
        learning_rate: after the warm-up; ten times more destroys a network that is good already.
        patience: stop after so many epochs without a better one; by default a quarter of `epochs`, at least 3: while
            the learning rate rises, nothing gets better.
        checkpoints: a folder. What a killed run left there is continued, to the numbers that an unbroken run has;
            what a different run left there (other weights, images or options) is an error.
        image_size: side or (height, width), for a model that leaves them open.
        seed: of the order of the images.
        quiet: show no progress bar.

    Raises:
        ArgumentError: an option that is not allowed, or models whose outputs differ.
        CalibrationError: images that cannot be used.
    """
    require_tensorflow()
    check_model(teacher, "teacher")
    check_model(student, "student")
    given = {name: value for name, value in (("epochs", epochs), ("patience", patience)) if value is not None}
    _check(teacher, student, given | {"batch_size": batch_size}, learning_rate)
    signature = image_input(teacher)
    samples = calibration_images(images, shape=signature.sized(image_size), preprocessing=signature.preprocessing)
    training, held_out = _split(samples)
    steps = math.ceil(len(training) / batch_size)
    epochs = epochs or default_epochs(steps)
    patience = patience or max(3, epochs // 4)
    run = _Run(teacher, student, epochs, steps, learning_rate)
    job: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    job |= {"teacher": weights_digest(teacher), "images": samples.digest()}
    history = History(student, run, job, checkpoints)
    if not history.restore():
        history.record(run.measure(training, batch_size), run.measure(held_out, batch_size), student.get_weights())
    with bar(quiet=quiet) as progress:
        task = progress.add_task("distilling", total=epochs, completed=history.epoch)
        while history.epoch < epochs and history.epoch - history.best < patience:
            random = np.random.default_rng((seed, history.epoch))
            order = random.permutation(len(training))
            losses = [run.step(_mirrored(batch, random)) for batch in _batches(training, order, batch_size)]
            with run.averaged():
                found, weights = run.measure(held_out, batch_size), student.get_weights()
            history.record(float(np.mean(losses)), found, weights)
            progress.update(task, completed=history.epoch, description=f"loss {history.held_out[-1]:.2e}")
    return history.finish()


class _Run:
    """Teacher, student, optimizer and averaged weights, and what is computed with them.

    Attributes:
        variables: what has to be kept beside the student's weights to continue.
    """

    def __init__(
        self, teacher: keras.Model, student: keras.Model, epochs: int, steps: int, learning_rate: float
    ) -> None:
        names = list(named_outputs(teacher))
        variables = self._trained = _trainable(student)
        rising = math.ceil(WARM_UP * epochs * steps)
        rate = keras.optimizers.schedules.CosineDecay(
            learning_rate / rising, max(1, epochs * steps - rising), warmup_target=learning_rate, warmup_steps=rising
        )
        optimizer = keras.optimizers.Adam(rate)
        optimizer.build(variables)
        averages = self._averages = [tf.Variable(variable.value) for variable in variables]
        newest = 1 / max(steps, 2)
        self.variables = [*optimizer.variables, *averages]

        def tensors(model: keras.Model, batch: tf.Tensor) -> list[tf.Tensor]:
            outputs = model(batch, training=False)
            flat = [outputs[name] for name in names] if isinstance(outputs, dict) else keras.tree.flatten(outputs)
            return [tf.cast(tensor, tf.float32) for tensor in flat]

        def loss(batch: tf.Tensor) -> tf.Tensor:
            parts = []
            for goal, found in zip(tensors(teacher, batch), tensors(student, batch), strict=True):
                goal = tf.stop_gradient(goal)
                parts.append(tf.reduce_sum(tf.square(found - goal)) / (tf.reduce_sum(tf.square(goal)) + 1e-12))
            return tf.add_n(parts) / len(parts)

        @tf.function(autograph=False)
        def step(batch: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                value = loss(batch)
            optimizer.apply(tape.gradient(value, variables), variables)
            for average, variable in zip(averages, variables, strict=True):
                average.assign_add(newest * (variable.value - average))
            return value

        self._loss, self._step = tf.function(loss, autograph=False), step

    def step(self, batch: np.ndarray) -> float:
        """Train on one batch; returns its loss before the step."""
        return float(self._step(tf.constant(batch)))

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The student has its averaged weights meanwhile."""
        newest = [np.asarray(variable) for variable in self._trained]
        for variable, average in zip(self._trained, self._averages, strict=True):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self._trained, newest, strict=True):
                variable.assign(value)

    def measure(self, images: Calibration, batch_size: int) -> float:
        """Mean loss, without training."""
        order = np.arange(len(images))
        batches = list(_batches(images, order, batch_size))
        losses = [float(self._loss(tf.constant(batch))) * len(batch) for batch in batches]
        return sum(losses) / len(images)


def default_epochs(steps: int) -> int:
    """How many epochs of so many steps are good."""
    return min(max(EPOCHS[0], math.ceil(STEPS / steps)), EPOCHS[1])


def _check(teacher: keras.Model, student: keras.Model, counts: dict[str, int], learning_rate: float) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ArgumentError(f"{name}={value!r}: expected a number of at least 1.")
    if not 0 < learning_rate < 1:
        raise ArgumentError(f"learning_rate={learning_rate!r}: expected a number between 0 and 1, such as 3e-5.")
    shapes = [{name: tuple(t.shape) for name, t in named_outputs(model).items()} for model in (teacher, student)]
    if shapes[0] != shapes[1]:
        raise ArgumentError(f"the teacher gives {shapes[0]}, the student {shapes[1]}; both must give the same.")


def _trainable(student: keras.Model) -> list[Any]:
    """What training changes: everything but batch norms."""
    norms = {
        id(variable)
        for layer in student.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.weights
    }
    return [variable for variable in student.trainable_variables if id(variable) not in norms]


def _split(samples: Calibration) -> tuple[Calibration, Calibration]:
    """Training and held-out images: every fifth is held out."""
    every = round(1 / HELD_OUT)
    held_out = [index for index in range(len(samples)) if index % every == every - 1]
    rest = [index for index in range(len(samples)) if index % every != every - 1]
    return samples.chosen(rest), samples.chosen(held_out)


def _mirrored(batch: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The batch, each image mirrored or not."""
    turned = random.random(len(batch)) < 0.5
    return np.where(turned[:, None, None, None], batch[:, :, ::-1], batch)


def _batches(images: Calibration, order: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(order), size):
        yield np.concatenate([images[int(index)] for index in order[start : start + size]])
