"""Which parts a reconstruction has finished, kept so that it survives a kill."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import check_directory, staged

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
        sizes = [float(np.abs(weight).mean()) for weight in model.get_weights()]
        self._model, self._job = model, job | {"start": [round(size, 5) for size in sizes]}
        self._file = check_directory(folder) / CHECKPOINT if folder is not None else None
        self.count = 0
        if self._file is not None and self._file.exists():
            self._restore()

    def record(self, count: int) -> None:
        """Note that so many parts are finished."""
        self.count = count
        if self._file is not None:
            state = json.dumps({"count": count, "job": self._job}).encode()
            with staged(self._file) as temporary, temporary.open("wb") as file:
                np.savez(file, np.frombuffer(state, np.uint8), *self._model.get_weights())

    def _restore(self) -> None:
        assert self._file is not None
        try:
            with np.load(self._file, allow_pickle=False) as content:
                state, *weights = (content[f"arr_{index}"] for index in range(len(content.files)))
            told = json.loads(state.tobytes())
            different = [name for name, value in self._job.items() if told["job"].get(name) != value]
            if different:
                raise ValueError(f"it is of another run, which differs in {', '.join(different)}")
            self._model.set_weights(weights)
            self.count = int(told["count"])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ArgumentError(
                f"{self._file} cannot be continued: {reason}. Name another folder, or delete this one to start anew."
            ) from None
