"""Model files of strangers: `.tflite` and `.onnx` are tried in a process of their own before this one opens them.

Some damaged files crash the interpreter, some take it for ever. `python -m keras_yolo_backbones.strangers FILE` opens
and runs one and says in a line of JSON what came of it.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.child import MEMORY, ask
from keras_yolo_backbones.errors import BackboneError, ExportError, shown

SECONDS = 120
"""How long a file may take to be opened and run once; `KYB_TOOL_SECONDS` in the environment says it otherwise."""

_MOST_VALUES = 1 << 26
"""Inputs of more values are not made up for a trial."""


def check_runs(path: Path) -> None:
    """Open a `.tflite` or `.onnx` file and run it on zeros, in a process of its own; once, as long as it stays.

    Raises:
        ExportError: the file is none, is damaged, or crashes what runs it.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise ExportError(f"{path} is no file, or an empty one.")
    found = path.stat()
    _tried(path, (found.st_ino, found.st_size, found.st_mtime_ns))


@functools.lru_cache(64)
def _tried(path: Path, _: tuple[int, ...]) -> None:
    try:
        said = ask(__name__, str(path.absolute()), what="what opens and runs it", seconds=SECONDS)["error"]
    except ExportError as error:
        raise ExportError(f"{path} is damaged, or very large: {error}") from None
    if said:
        raise ExportError(shown(said, 500))


def typed(path: Path, what: str, read: Callable[[], Any]) -> Any:
    """What `read` returns; whatever it raises on a damaged file becomes an `ExportError`.

    Args:
        path: the file.
        what: it should be, such as `"TFLite model"`.
        read: reads it.
    """
    try:
        return read()
    except (BackboneError, ImportError):
        raise
    except Exception as error:
        reason = shown(str(error).split("\n")[0] or type(error).__name__, 200)
        raise ExportError(f"{path} is no {what}, or a damaged one: {reason}") from error


def read_onnx(path: Path) -> Any:
    """The ONNX model in a file, checked by the onnx package; values in other files are not looked for.

    Raises:
        ExportError: the file is none, or damaged.
    """
    import onnx

    def read() -> Any:
        proto = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(proto)
        return proto

    return typed(path, "ONNX file", read)


def _try_tflite(path: Path) -> None:
    from keras_yolo_backbones.fragile import recording_interpreter
    from keras_yolo_backbones.litert import operators, plain_interpreter

    def run() -> None:
        for interpreter in (plain_interpreter(path), recording_interpreter(path)):
            interpreter.allocate_tensors()
            for entry in interpreter.get_input_details():
                interpreter.set_tensor(entry["index"], np.zeros(_bounded(entry["shape"]), entry["dtype"]))
            interpreter.invoke()
            for entry in interpreter.get_output_details():
                interpreter.get_tensor(entry["index"])

    operators(path)
    typed(path, "TFLite model", run)


def _try_onnx(path: Path) -> None:
    proto = read_onnx(path)
    try:
        import onnxruntime
    except ImportError:
        return

    def run() -> None:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        kinds = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}
        fed: dict[str, np.ndarray] = {}
        for entry in session.get_inputs():
            # Open sides are those of a batch or an image: 128 px suit every stride.
            sides = [side if isinstance(side, int) else (1, 128)[at > 0] for at, side in enumerate(entry.shape)]
            fed[entry.name] = np.zeros(_bounded(sides), kinds[entry.type])
        session.run(None, fed)

    typed(path, "ONNX model that onnxruntime runs", run)


def _bounded(shape: Any) -> tuple[int, ...]:
    sides = tuple(int(side) for side in shape)
    if min(sides, default=1) < 0 or np.prod(sides, dtype=float) > _MOST_VALUES:
        raise ValueError(f"an input of {sides}")
    return sides


def main(path: Path) -> int:
    """Try a file and print what is wrong with it, or null, as JSON."""
    error = ""
    try:
        (_try_onnx if path.suffix == ".onnx" else _try_tflite)(path)
    except ExportError as refusal:
        error = str(refusal)
    except MemoryError:
        error = f"{path} takes more memory than {MEMORY >> 30} GB."
    print(json.dumps({"error": error}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
