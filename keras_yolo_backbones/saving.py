"""Opening saved models that hold this package's own layers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import keras

# Imported so that Keras finds the layers by the names that they are registered under.
from keras_yolo_backbones.blocks import layers as _blocks  # noqa: F401
from keras_yolo_backbones.errors import CheckpointError


def load_model(path: str | os.PathLike[str], *, compile: bool = True) -> Any:
    """Open a `.keras` file that `model.save` has written of a backbone, a detector on one, or a fake-quantized model.

    It is `keras.saving.load_model` with the layers of attention, learned scales and fake quantization known, which
    Keras alone does not find in a new process. Like that, it is for files whose origin you trust.

    Args:
        path: the file.
        compile: whether to restore optimizer, loss and metrics too; `False` if these are not Keras' own.

    Raises:
        CheckpointError: there is no such file, or Keras cannot make a model of it.
    """
    from keras_yolo_backbones.quantization import kernels  # noqa: F401

    file = Path(path)
    if not file.is_file():
        raise CheckpointError(file, "there is no such file; expected a .keras file that model.save has written.")
    try:
        return keras.saving.load_model(file, compile=compile)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(file, f"it is no model that Keras can open: {reason}") from error
