"""Opening saved models that hold this package's own layers."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

# Imported so that Keras finds the layers by the names that they are registered under.
from keras_yolo_backbones.blocks import layers as _blocks  # noqa: F401
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.marks import texts
from keras_yolo_backbones.provenance import (
    complete_provenance,
    leaves,
    parse_provenance,
    provenance_of,
    write_provenance,
)


def load_model(path: str | os.PathLike[str], *, compile: bool = True) -> Any:
    """Open a `.keras` file that `model.save` has written of a backbone, a detector on one, or a fake-quantized model.

    It is `keras.saving.load_model` with the layers of attention, learned scales and fake quantization known, which
    Keras alone does not find in a new process, and with the provenance of the weights.

    Keras' safe mode is on, unless you have called `keras.config.enable_unsafe_deserialization()`: a file that holds
    Python code is refused. But Keras still builds whatever layers the file names, of any size, and reads its weights
    with the HDF5 library. A stranger's file can so use up memory and time, or make use of a fault in that library: open
    it where that does no harm, or read only its weights into a model of yours with `load_weights`, which bounds all
    that.

    Args:
        path: the file.
        compile: whether to restore optimizer, loss and metrics too; `False` if these are not Keras' own.

    Raises:
        CheckpointError: there is no such file, or Keras cannot make a model of it.
    """
    from keras_yolo_backbones.quantization import kernels, simulated  # noqa: F401

    file = Path(path)
    if not file.is_file():
        raise CheckpointError(file, "there is no such file; expected a .keras file that model.save has written.")
    try:
        model = keras.saving.load_model(file, compile=compile, safe_mode=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(file, f"it is no model that Keras can open: {reason}") from error
    _write_provenance(model, file)
    return model


def _write_provenance(model: keras.Model, file: Path) -> None:
    """Write on layers what the file says of them and their own configs do not."""
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        config = json.loads(archive.read("config.json"))
    found = dict(texts(config))
    for layer in leaves(model.layers):
        provenance = parse_provenance(found.get(layer.name))
        if layer.weights and provenance and provenance_of([layer]) is None:
            write_provenance(layer, provenance)
    complete_provenance(model)
