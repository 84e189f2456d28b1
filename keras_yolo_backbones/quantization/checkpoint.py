"""A file that a killed run continues from."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.files import check_directory, staged


class Checkpoint:
    """What a run has reached: numbers, arrays, and which run they are of.

    Args:
        name: of the file. There is one only, so that a kill leaves the old state or the new one.
        model: what is trained, with the weights that the run starts from.
        job: what else the numbers depend on, as JSON values.
        folder: for the file; `None` keeps nothing.
    """

    def __init__(
        self, name: str, model: keras.Model, job: dict[str, Any], folder: str | os.PathLike[str] | None
    ) -> None:
        # Sums in parallel have no fixed order: ranges may differ from run to run, in their last bits or by one step of
        # the grid that they are chosen from.
        self._start = [float(np.abs(weight).mean()) for weight in model.get_weights()]
        self._job = job
        self._file = check_directory(folder) / name if folder is not None else None

    def write(self, state: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
        """Write the state of the run down.

        Args:
            state: JSON values.
            arrays: in the order that `read` passes them on.
        """
        if self._file is None:
            return
        text = json.dumps(state | {"job": self._job, "start": self._start})
        with staged(self._file) as temporary, temporary.open("wb") as file:
            np.savez(file, np.frombuffer(text.encode(), np.uint8), *arrays)

    def read(self, use: Callable[[dict[str, Any], list[np.ndarray]], None]) -> bool:
        """Pass the state and the arrays to `use`, which may raise `ValueError`; false if there is no file.

        Raises:
            ArgumentError: the file is damaged, or of a different run.
        """
        if self._file is None or not self._file.exists():
            return False
        try:
            with np.load(self._file, allow_pickle=False) as content:
                told, *arrays = (content[f"arr_{index}"] for index in range(len(content.files)))
            state = json.loads(told.tobytes())
            self._check(state)
            use(state, arrays)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0]
            raise ArgumentError(
                f"{self._file} cannot be continued: {reason}. Name another folder, or delete this one to start anew."
            ) from None
        return True

    def _check(self, state: dict[str, Any]) -> None:
        """Raise `ValueError` unless the file is of this run."""
        different = [name for name, value in self._job.items() if state["job"].get(name) != value]
        start = state["start"]
        if not different and (len(start) != len(self._start) or not np.allclose(start, self._start, rtol=2e-2)):
            different = ["the first weights or ranges"]
        if different:
            raise ValueError(f"it is of another run, which differs in {', '.join(different)}")
