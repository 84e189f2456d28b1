"""Keras' own weight files, `.weights.h5`, and the one inside a `.keras` archive; the model in there is never built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.marks import texts
from keras_yolo_backbones.weights.readers.archive import Record, read_record, verify
from keras_yolo_backbones.weights.readers.facts import Facts
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import DTYPES, Tensor, is_count, is_shape

_PROGRAM = Path(__file__).with_name("h5_index.py")
_SECONDS = 60
_MAX_ANSWER = 16 << 20
_MAX_CONFIG = 4 << 20
"""Bytes; the largest network of the zoo has 1 MB."""
_TYPES = {dtype.str: name for name, dtype in DTYPES.items() if name != "bfloat16"}


def read_keras(source: Source, records: dict[str, Record]) -> tuple[dict[str, Tensor], Facts]:
    """The variables in a `.keras` archive, like `read_h5`, and what the archive says of their network."""
    record = records["model.weights.h5"]
    verify(source, record)
    tensors, provenance = read_h5(source, record.offset, record.size)
    config = _config(source, records.get("config.json"))
    carried = provenance or next((text for _, text in texts(config)), "")
    return tensors, Facts(provenance=carried, activations=_activations(config))


def _config(source: Source, record: Record | None) -> Any:
    """The model's config, as plain data; `None` if there is none that can be read."""
    if record is None or record.size > _MAX_CONFIG:
        return None
    try:
        return json.loads(read_record(source, record))
    except (ValueError, RecursionError):
        return None


def _activations(config: Any) -> dict[str, str]:
    """The activation of every module of a backbone, by the names of its layers: `"stem.act"` is that of `"stem"`."""
    outer = config.get("config") if isinstance(config, dict) else None
    layers = outer.get("layers") if isinstance(outer, dict) else None
    found: dict[str, str] = {}
    for layer in layers if isinstance(layers, list) else []:
        options = layer.get("config") if isinstance(layer, dict) else None
        if not isinstance(options, dict):
            continue
        name = options.get("name")
        if isinstance(name, str) and name.endswith(".act"):
            found[name.removesuffix(".act")] = _activation(layer.get("class_name"), options)
        elif isinstance(name, str) and name.endswith(".conv"):
            found.setdefault(name.removesuffix(".conv"), "linear")
    return found


def _activation(kind: Any, options: dict[str, Any]) -> str:
    """Our name of an activation layer; its class if it is none of ours."""
    if kind == "Activation":
        name = shown(str(options.get("activation")))
        return {"hard_silu": "hard_swish"}.get(name, name)
    if kind == "ReLU":
        known = {"None": "relu", "6.0": "relu6"}
        return known.get(str(options.get("max_value")), "ReLU")
    if kind == "LeakyReLU":
        return "leaky_relu" if options.get("negative_slope") == 0.1 else "LeakyReLU"
    return shown(str(kind))


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
        said = repr(shown(name))
        if dtype is None:
            raise source.error(f"its variable {said} is of the type {shown(kind)!r}; floating point is read.")
        if not is_shape(shape) or not is_count(offset):
            raise source.error(f"its variable {said} has an impossible shape or place: it is damaged.")
        count = Tensor(tuple(shape), dtype, bytes).nbytes
        if offset + count > size:
            raise source.error(f"its variable {said} reaches past the end of the file: it is truncated.")
        if name in tensors:
            raise source.error(f"holds the variable {said} twice.")
        tensors[name] = Tensor(tuple(shape), dtype, partial(source.read, start + offset, count))
    return tensors, found["provenance"]


def _index(source: Source, start: int, size: int) -> dict[str, Any]:
    """What `h5_index.py` finds, run in a process of its own."""
    said = _answer(source, start, size)
    try:
        found = json.loads(said)
    except ValueError:
        raise source.error("the HDF5 library gave no answer: the file is damaged; download it again.") from None
    if "error" in found:
        raise source.error(f"is no weight file that Keras 3 wrote: {shown(found['error'], 200)}.")
    return found


def _answer(source: Source, start: int, size: int) -> bytes:
    """What the program prints, which is stopped when it takes too long or says too much."""
    command = [sys.executable, "-I", str(_PROGRAM), str(start), str(size)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # each thread of it would reserve memory
    with subprocess.Popen(
        command, stdin=source.fileno(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as child:
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        clock = threading.Timer(_SECONDS, stop)
        clock.start()
        try:
            assert child.stdout is not None
            said = child.stdout.read(_MAX_ANSWER + 1)
            if len(said) > _MAX_ANSWER:
                child.kill()
            code = child.wait()
        finally:
            clock.cancel()
    if late.is_set():
        raise source.error(f"the HDF5 library found no end in {_SECONDS} s: the file is damaged; download it again.")
    if len(said) > _MAX_ANSWER:
        raise source.error(f"lists its variables in more than {_MAX_ANSWER} bytes: it is damaged.")
    if code:
        raise source.error("the HDF5 library crashed on it: the file is damaged; download it again.")
    return said
