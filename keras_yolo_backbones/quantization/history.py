"""What a distillation has reached, kept so that it survives a kill."""

from __future__ import annotations

import json
import math
import os
import zipfile
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import check_directory, staged

CHECKPOINT = "distilling.npz"
"""What a folder of checkpoints holds: one file, so that a kill leaves the old one or the new one."""


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
        self._student, self._state, self._job = student, state, job
        # Sums in parallel have no fixed order: ranges may differ from run to run, in their last bits or by one step of
        # the grid that they are chosen from.
        self._start = [float(np.abs(weight).mean()) for weight in student.get_weights()]
        self._file = check_directory(folder) / CHECKPOINT if folder is not None else None
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
        weights = self._student.get_weights()
        if self.epoch == 0 or self.held_out[-1] < self.held_out[self.best]:
            self.best, self._best_weights = self.epoch, measured
        if self._file is None:
            return
        told = {"losses": self.losses, "held_out": self.held_out, "best": self.best}
        state = json.dumps(told | {"job": self._job, "start": self._start})
        moments = [np.asarray(variable) for variable in self._state.variables]
        with staged(self._file) as temporary, temporary.open("wb") as file:
            np.savez(file, np.frombuffer(state.encode(), np.uint8), *weights, *self._best_weights, *moments)

    def restore(self) -> bool:
        """Go back to where the last run stopped; false if there was none.

        Raises:
            ArgumentError: the file is damaged, or of a different run.
        """
        if self._file is None or not self._file.exists():
            return False
        try:
            with np.load(self._file, allow_pickle=False) as content:
                state, *arrays = (content[f"arr_{index}"] for index in range(len(content.files)))
            found, count = json.loads(state.tobytes()), len(self._student.weights)
            self._check(found)
            self._student.set_weights(arrays[:count])
            self._best_weights = arrays[count : 2 * count]
            for variable, value in zip(self._state.variables, arrays[2 * count :], strict=True):
                variable.assign(value)
            self.losses, self.held_out, self.best = found["losses"], found["held_out"], found["best"]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ArgumentError(
                f"{self._file} cannot be continued: {reason}. Name another folder, or delete this one to start anew."
            ) from None
        return True

    def _check(self, found: dict[str, Any]) -> None:
        """Raise `ValueError` unless the checkpoint is of this run."""
        different = [name for name, value in self._job.items() if found["job"].get(name) != value]
        start = found["start"]
        if not different and (len(start) != len(self._start) or not np.allclose(start, self._start, rtol=2e-2)):
            different = ["the student's first weights or ranges"]
        if different:
            raise ValueError(f"it is of another run, which differs in {', '.join(different)}")

    def finish(self) -> Distilled:
        """Give the student its best weights."""
        self._student.set_weights(self._best_weights)
        return Distilled(self.losses, self.held_out, self.best)
