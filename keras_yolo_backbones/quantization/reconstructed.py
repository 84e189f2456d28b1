"""Which parts a reconstruction has finished, kept so that it survives a kill."""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.quantization.checkpoint import Checkpoint

CHECKPOINT = "reconstructing.npz"


class Finished:
    """The number of finished parts, and the weights after them, on disk where a folder is given.

    Args:
        model: what is learned; gets the weights of the checkpoint, if there is one.
        job: what the numbers depend on, as JSON values.
        folder: for the checkpoint.

    Raises:
        ArgumentError: the file is damaged, or of a different run.
    """

    def __init__(self, model: keras.Model, job: dict[str, Any], folder: str | os.PathLike[str] | None) -> None:
        self._model, self._checkpoint = model, Checkpoint(CHECKPOINT, model, job, folder)
        self.count = 0
        self._checkpoint.read(self._use)

    def record(self, count: int) -> None:
        """Note that so many parts are finished."""
        self.count = count
        self._checkpoint.write({"count": count}, self._model.get_weights())

    def _use(self, state: dict[str, Any], arrays: list[np.ndarray]) -> None:
        self._model.set_weights(arrays)
        self.count = int(state["count"])
