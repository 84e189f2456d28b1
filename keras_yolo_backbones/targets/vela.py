"""Arm Ethos-U: files are compiled by Vela, Arm's own compiler (PyPI: ethos-u-vela), and its report is read.

Times and memory are Vela's estimates for the system and the memory mode that it assumes by default for each chip.
"""

from __future__ import annotations

import csv
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from keras_yolo_backbones.child import Finished, last_words, run
from keras_yolo_backbones.errors import ArgumentError, ExportError, one_of, shown
from keras_yolo_backbones.targets.refusals import INTEGERS, advice_for
from keras_yolo_backbones.targets.report import Refusal, Report
from keras_yolo_backbones.targets.tools import Tool, command_path

VELA = Tool("ethos-u-vela", "ethos-u")

SIZES = {
    "ethos-u55": ("256", "128", "64", "32"),
    "ethos-u65": ("256", "512"),
    "ethos-u85": ("512", "128", "256", "1024", "2048"),
}
"""Chip -> multiply-accumulates a cycle, the default first."""

_LEFT = re.compile(r"Warning \(supported operators\) operator: (\S+), ofm: '([^\n]*)'\nReason: ([^\n]*)")

_TENSOR = re.compile(r"(?<=DataType Float\d\d) \(.*\)$")
"""The name of a tensor at the end of a reason: without it, operators with one reason are one line."""


class Placed(NamedTuple):
    """What Vela did with a file.

    Attributes:
        passes: operations on the NPU; one operator may take several.
        left: (operator, reason) of each operator that stays on the CPU.
        summary: the columns of its summary.
    """

    passes: int
    left: list[tuple[str, str]]
    summary: dict[str, str]


def configuration(target: str) -> str:
    """`"ethos-u55"` or `"ethos-u55-128"` -> `"ethos-u55-128"`.

    Raises:
        ArgumentError: no such chip or size.
    """
    chip, size = target[:9], target[10:]
    if chip not in SIZES or (len(target) > 9 and size not in SIZES[chip]):
        allowed = [f"{name}-{number}" for name, numbers in SIZES.items() for number in numbers]
        raise one_of("Ethos-U", target, allowed)
    return f"{chip}-{size or SIZES[chip][0]}"


def installed() -> bool:
    """Whether the command `vela` is there."""
    return command_path("vela") is not None


def vela_report(path: Path, target: str, *, operators: int, clock: float | None = None) -> Report:
    """Compile a TFLite file and say where its operators go, what memory it takes, and how long it would take.

    Args:
        path: the file.
        target: see `configuration`.
        operators: how many the file has.
        clock: MHz of the NPU; by default that of the system that Vela assumes.

    Raises:
        ArgumentError: an unknown target, or a clock that is none.
        ExportError: Vela refuses the file, or takes too long.
    """
    if clock is not None and not 0 < clock < 100_000:
        raise ArgumentError(f"clock={clock:g}: expected the NPU's clock in MHz, such as 500.")
    target = configuration(target)
    placed = compiled(path, target)
    counts = Counter(placed.left)
    in_float = sum(counts.values()) == operators and any("DataType Float" in reason for _, reason in counts)
    refused = [  # in a file of float16 weights, DEQUANTIZE is no border between integers and float
        Refusal(
            name, count, reason, INTEGERS if in_float or "DataType Float" in reason else advice_for(name, target[:9])
        )
        for (name, reason), count in counts.items()
    ]
    facts = {"npu_passes": placed.passes, **_facts(placed.summary, clock)}
    return Report(target, VELA.version(), operators, refused, facts)


def compiled(path: Path, accelerator: str) -> Placed:
    """Run Vela and read its two tables and its warnings.

    Raises:
        ExportError: it refuses the file, takes too long, or writes no tables.
    """
    command = command_path("vela")
    if command is None:
        raise ArgumentError(f"{VELA.missing}.")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--accelerator-config", accelerator, "--output-dir", folder, "--verbose-performance"]
        done = run([command, str(path.resolve()), *options], what="Vela")
        tables = [list(Path(folder).glob(f"*{kind}*.csv")) for kind in ("_per-layer", "_summary_")]
        if not all(tables):
            raise ExportError(f"Vela does not compile {path}: {_failure(done)}")
        layers, (summary, *_) = (_rows(found[0]) for found in tables)
    passes = sum(row["Target"] == "NPU" and int(row["Op Cycles"]) > 0 for row in layers)  # 0: fused into the one before
    return Placed(passes, _left(layers, done.out + done.error), summary)


def _rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _left(layers: list[dict[str, str]], said: str) -> list[tuple[str, str]]:
    """The operators that its table puts on the CPU, with the reason that its warnings give.

    A warning names the activation inside an operator, where it has one; the table the operator.
    """
    reasons = {tensor: (name, _TENSOR.sub("", reason)) for name, tensor, reason in _LEFT.findall(said)}
    left = []
    for row in layers:
        if row["Target"] == "CPU":
            operator = _upper(row["Original Operator"])
            name, reason = reasons.get(row["Name"], (operator, "Vela has no form of it for this NPU"))
            left.append((operator if name.startswith("RELU") else name, reason))
    return left


def _upper(name: str) -> str:
    """`"ResizeNearestNeighbor"` -> `"RESIZE_NEAREST_NEIGHBOR"`, `"Conv2D"` -> `"CONV_2D"`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z0-9])", "_", shown(name)).upper()


def _failure(done: Finished) -> str:
    """Vela's own words on why it ends without result."""
    found = re.search(r"(?:RuntimeError|Error): (.*)", done.error + done.out, re.DOTALL)
    if not found:
        return last_words(done)
    return shown(" ".join(found[1].split()), 200)


def _facts(summary: dict[str, str], clock: float | None) -> dict[str, float | int | str]:
    """The numbers of its summary that decide whether a network fits a chip."""

    def number(column: str) -> float:
        return float(summary[column])

    hertz = number("core_clock") if clock is None else clock * 1e6
    cycles = int(number("cycles_total"))
    return {
        "ms": 1e3 * cycles / hertz,
        "cycles": cycles,
        "clock_mhz": hertz / 1e6,
        "macs": int(number("nn_macs")),
        "sram_bytes": int(1024 * number("sram_memory_used")),
        "dram_bytes": int(1024 * number("dram_memory_used")),
        "flash_bytes": int(1024 * (number("on_chip_flash_memory_used") + number("off_chip_flash_memory_used"))),
        "weights_bytes": int(number("total_original_weights")),
        "encoded_weights_bytes": int(number("total_npu_encoded_weights")),
        "system": summary["system_config"],
        "memory_mode": summary["memory_mode"],
    }
