"""What a distillation has reached, kept so that it survives a kill."""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.quantization.checkpoint import Checkpoint

CHECKPOINT = "distilling.npz"


class Distilled(NamedTuple):
    """What `distill` did.

    Attributes:
        losses: mean loss of each epoch on the training images; the first entry is that before training.
        held_out: the same on the held-out images.
        best: number of the epoch whose weights the student has now; 0 is untrained.
    """

    losses: list[float]
    held_out: list[float]
    best: int


class History:
    """Losses so far, the best weights, and both on disk where a folder is given.

    Args:
        student: what is trained, with the weights that it starts from.
        state: its `variables` are kept too: those of the optimizer, averages.
        job: what else the numbers depend on, as JSON values.
        folder: for the checkpoint.
    """

    def __init__(
        self, student: keras.Model, state: Any, job: dict[str, Any], folder: str | os.PathLike[str] | None
    ) -> None:
        self._student, self._state = student, state
        self._checkpoint = Checkpoint(CHECKPOINT, student, job, folder)
        self._best_weights: list[np.ndarray] = []
        self.losses: list[float] = []
        self.held_out: list[float] = []
        self.best = 0

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.held_out) - 1

    def record(self, loss: float, held_out: float, measured: list[np.ndarray]) -> None:
        """Note an epoch, and the weights that its held-out loss is of; write everything down."""
        self.losses.append(loss)
        self.held_out.append(held_out if math.isfinite(held_out) else 1e30)
        if self.epoch == 0 or self.held_out[-1] < self.held_out[self.best]:
            self.best, self._best_weights = self.epoch, measured
        moments = [np.asarray(variable) for variable in self._state.variables]
        told = {"losses": self.losses, "held_out": self.held_out, "best": self.best}
        self._checkpoint.write(told, [*self._student.get_weights(), *self._best_weights, *moments])

    def restore(self) -> bool:
        """Go back to where the last run stopped; false if there was none.

        Raises:
            ArgumentError: the file is damaged, or of a different run.
        """
        return self._checkpoint.read(self._use)

    def _use(self, state: dict[str, Any], arrays: list[np.ndarray]) -> None:
        count = len(self._student.weights)
        self._student.set_weights(arrays[:count])
        self._best_weights = arrays[count : 2 * count]
        for variable, value in zip(self._state.variables, arrays[2 * count :], strict=True):
            variable.assign(value)
        self.losses, self.held_out, self.best = state["losses"], state["held_out"], state["best"]

    def finish(self) -> Distilled:
        """Give the student its best weights."""
        self._student.set_weights(self._best_weights)
        return Distilled(self.losses, self.held_out, self.best)
