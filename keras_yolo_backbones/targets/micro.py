"""TensorFlow Lite Micro: a file is run by its interpreter (PyPI: tflite-micro) and compared with LiteRT.

As a program it runs one file in a process of its own: `python -m keras_yolo_backbones.targets.micro FILE FOLDER`.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.fragile import bare_interpreter
from keras_yolo_backbones.litert import plain_interpreter, run_raw
from keras_yolo_backbones.targets.refusals import advice_for, refusals
from keras_yolo_backbones.targets.report import Refusal, Report
from keras_yolo_backbones.targets.tools import Tool, ask, has_module

MICRO = Tool("tflite-micro", "micro")

_ARENA = 1 << 30
"""Bytes that the interpreter may use; it reports how many it did."""

_OPERATOR = re.compile(r"Didn't find op for builtin opcode '(\w+)'|Failed to get registration from op code (\w+)")

_FAILED = re.compile(r"(?:[\w/]+\.cc:\d+ )?([^\n]*)\nNode (\w+) \(number \d+\) failed to (\w+)")


def installed() -> bool:
    """Whether the package is there."""
    return has_module("tflite_micro")


def micro_report(path: Path, *, operators: int) -> Report:
    """Run a TFLite file in TFLite Micro and in LiteRT on the same random image.

    Args:
        path: the file.
        operators: how many it has.

    Raises:
        ExportError: the interpreter gives no answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = ask("micro", str(path.resolve()), folder, what="TFLite Micro")
        if "refuses" in found:
            refused = refusals(path, "tflite-micro")
            names = {refusal.operator for refusal in refused}
            said = {name for pair in _OPERATOR.findall(found["log"]) for name in pair if name} - names
            refused += [Refusal(name, 1, "TFLite Micro did not find it", "") for name in sorted(said)]
            refused = refused or [_failure(found["log"], found["refuses"], operators)]
            return Report("tflite-micro", MICRO.version(), operators, refused)
        facts: dict[str, Any] = _arena(found["log"])
        facts |= {"steps_from_litert": _steps(Path(folder), bare_interpreter(path))}
        facts |= {"steps_from_xnnpack": _steps(Path(folder), plain_interpreter(path))}
    return Report("tflite-micro", MICRO.version(), operators, [], facts)


def _failure(log: str, message: str, operators: int) -> Refusal:
    """The operator that the interpreter failed at, with the reason that it logged; or the whole file."""
    failed = _FAILED.search(log)
    if failed is None:
        return Refusal("the file", operators, message, "")
    reason, name, step = failed.groups()
    return Refusal(name, 1, f"TFLite Micro fails to {step} it: {reason}", advice_for(name, "tflite-micro"))


def _arena(log: str) -> dict[str, Any]:
    """The numbers that the recording allocator prints."""
    lines = re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", log)
    return {f"arena_{part}_bytes": int(count) for part, count in lines}


def _steps(folder: Path, interpreter: Any) -> int | float:
    """The largest difference of any output from LiteRT's: in steps of its integers, or as it is for floats."""
    most: int | float = 0
    for index, ours in enumerate(run_raw(interpreter, np.load(folder / "input.npy"))):
        wide = np.int32 if ours.dtype.kind in "iu" else np.float64
        most = max(most, np.abs(ours.astype(wide) - np.load(folder / f"{index}.npy").astype(wide)).max().item())
    return most


def _run(path: str, folder: Path) -> dict[str, Any]:
    """Run a file on random values; input and outputs go into files."""
    from tflite_micro import runtime

    try:
        interpreter = runtime.Interpreter.from_file(path, arena_size=_ARENA)
        entry = interpreter.get_input_details(0)
        random = np.random.default_rng(0)
        if np.dtype(entry["dtype"]).kind == "f":
            image = random.random(entry["shape"], dtype=np.float32)
        else:
            limits = np.iinfo(entry["dtype"])
            image = random.integers(limits.min, limits.max + 1, entry["shape"]).astype(entry["dtype"])
        interpreter.set_input(image, 0)
        interpreter.invoke()
    except RuntimeError as error:
        return {"refuses": str(error)}
    np.save(folder / "input.npy", image)
    for index in itertools.count():
        try:
            np.save(folder / f"{index}.npy", interpreter.get_output(index))
        except IndexError:
            break
    interpreter.print_allocations()
    return {"outputs": index}


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], Path(sys.argv[2]))))
