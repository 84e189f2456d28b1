"""Keras' own weight files, `.weights.h5`, and the one inside a `.keras` archive; the model in there is never built."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from keras_yolo_backbones.weights.readers.archive import Record, verify
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES, Tensor

_PROGRAM = Path(__file__).with_name("h5_index.py")
_SECONDS = 20
_TYPES = {dtype.str: name for name, dtype in DTYPES.items() if name != "bfloat16"}


def read_keras(source: Source, records: dict[str, Record]) -> tuple[dict[str, Tensor], str]:
    """The variables in a `.keras` archive, like `read_h5`."""
    record = records["model.weights.h5"]
    verify(source, record)
    return read_h5(source, record.offset, record.size)


def read_h5(source: Source, start: int = 0, size: int | None = None) -> tuple[dict[str, Tensor], str]:
    """The variables of an HDF5 weight file that Keras 3 wrote.

    Args:
        source: the file.
        start: where in it the HDF5 data begins, bytes.
        size: how many bytes it has.

    Returns:
        `"<layer name>/<index of the variable in its layer>"` -> tensor in Keras' layout, and the provenance that this
        package wrote along, "" if none.

    Raises:
        CheckpointError: the HDF5 library refuses the file, crashes on it or does not come to an end; variables that
            are compressed, elsewhere, or reach past the file.
    """
    size = source.size - start if size is None else size
    found = _index(source, start, size)
    tensors: dict[str, Tensor] = {}
    for layer, number, kind, shape, offset in found["variables"]:
        name, dtype = f"{layer}/{number}", _TYPES.get(kind)
        if dtype is None:
            raise source.error(f"its variable {name[:80]!r} is of the type {kind!r}; floating point is read.")
        count = math.prod(shape) * DTYPES[dtype].itemsize
        if offset < 0 or offset + count > size:
            raise source.error(f"its variable {name[:80]!r} reaches past the end of the file: it is truncated.")
        if name in tensors:
            raise source.error(f"holds the variable {name[:80]!r} twice.")
        tensors[name] = Tensor(tuple(shape), dtype, _reader(source, start + offset, count))
    return tensors, found["provenance"]


def _reader(source: Source, offset: int, count: int) -> Any:
    return lambda: source.read(offset, count)


def _index(source: Source, start: int, size: int) -> dict[str, Any]:
    """What `h5_index.py` finds, run in a process of its own."""
    command = [sys.executable, "-I", str(_PROGRAM), str(start), str(size)]
    try:
        done = subprocess.run(command, stdin=source.fileno(), capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise source.error(f"the HDF5 library found no end in {_SECONDS} s: damaged or hostile.") from None
    if done.returncode:
        raise source.error("the HDF5 library crashed on it: damaged or hostile.")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise source.error("the HDF5 library gave no answer: damaged or hostile.") from None
    if "error" in found:
        raise source.error(f"is no weight file that Keras 3 wrote: {found['error']}.")
    return found
