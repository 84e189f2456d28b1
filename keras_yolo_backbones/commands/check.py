"""`kyb check`: whether a device takes a TFLite file whole, or a runtime an int8 ONNX file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_yolo_backbones.commands.common import print_json, readable_bytes, working
from keras_yolo_backbones.errors import ArgumentError

if TYPE_CHECKING:
    from keras_yolo_backbones.targets.report import Refusal, Report

EXAMPLES = """\
examples:
  kyb check v8s.tflite --target xnnpack
  kyb check v8s.tflite --target ethos-u55-128 --clock 400
  kyb check build/v8-s-relu6-int8.tflite --target edgetpu --json
  kyb check build/v8-s-relu6-int8.onnx --target tensorrt
"""


def add(subparsers: argparse._SubParsersAction) -> None:
    """Add the command and its arguments."""
    parser = subparsers.add_parser(
        "check",
        help="what a device takes of a TFLite file, or a runtime of an ONNX file",
        description="Ask the device's own compiler or interpreter what it takes of a TFLite file, where that is "
        "installed (Vela for Ethos-U, TFLite Micro, OpenVINO, LiteRT for XNNPACK), and its documentation where not; "
        "the first line says which it was. An int8 ONNX file is held against the published rules of a runtime. "
        "Ends with 1 if anything would run elsewhere, or in float.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="a .tflite or .onnx file")
    parser.add_argument(
        "--target",
        required=True,
        help="xnnpack, gpu, edgetpu, nnapi, coreml, hailo, imx500, ethos-u55, ethos-u65, ethos-u85 (also with a size: "
        "ethos-u85-512), tflite-micro or openvino; for .onnx tensorrt, onnxruntime, openvino or qnn",
    )
    parser.add_argument("--clock", type=float, metavar="MHZ", help="of an Ethos-U; that of Vela's system by default")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Check and print."""
    with working(console, f"checking {args.file.name}"):
        report = _report(args)
    if args.json:
        print_json(report.describe())
    else:
        _print(report, args.file)
    return 1 if report.refused else 0


def _report(args: argparse.Namespace) -> Report:
    from keras_yolo_backbones.targets.check import check_onnx, check_tflite

    if args.file.suffix == ".onnx":
        if args.clock is not None:
            raise ArgumentError("--clock is for the Ethos-U targets.")
        return check_onnx(args.file, args.target)
    return check_tflite(args.file, args.target, clock=args.clock)


def _print(report: Report, file: Path) -> None:
    out = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row("file", escape(file.name))
    table.add_row("said by", report.source)
    if report.missing:
        table.add_row("", escape(report.missing))
    for name, value in report.facts.items():
        if value or name.startswith("steps"):
            table.add_row(*_fact(name, value))
    out.print(f"{report.target}: {report.taken} of {report.operators} operators", markup=False)
    out.print(table)
    if report.refused:
        table = Table(box=None, pad_edge=False)
        table.add_column("operator", overflow="fold", min_width=max(map(len, _names(report.refused))))
        for title in ("count", "reason", "what to change"):
            table.add_column(title, overflow="fold")
        for line in _together(report.refused):
            table.add_row(*map(escape, line))
        out.print()
        out.print(table)


def _names(refused: list[Refusal]) -> set[str]:
    return {refusal.operator for refusal in refused}


def _together(refused: list[Refusal]) -> list[tuple[str, str, str, str]]:
    """One line for all operators with the same reason and advice."""
    groups: dict[tuple[str, str], list[Refusal]] = {}
    for refusal in refused:
        groups.setdefault((refusal.reason, refusal.advice), []).append(refusal)
    return [
        (", ".join(one.operator for one in same), str(sum(one.count for one in same)), *why)
        for why, same in groups.items()
    ]


def _fact(name: str, value: Any) -> tuple[str, str]:
    """("sram_bytes", 293550) -> ("SRAM", "293.6 kB"): a number with its unit."""
    capitals = {"sram": "SRAM", "dram": "DRAM", "npu": "NPU", "macs": "MACs", "litert": "LiteRT", "xnnpack": "XNNPACK"}
    parts = name.split("_")
    unit = parts.pop() if parts[-1] in ("bytes", "mhz") and len(parts) > 1 else ""
    words = " ".join(capitals.get(part, part) for part in parts)
    if unit == "bytes":
        return words, readable_bytes(value)
    if name == "ms":
        return "time", f"{value:.2f} ms"
    if unit == "mhz":
        return words, f"{value:g} MHz"
    return words, f"{value:,}" if isinstance(value, int) else escape(str(value))
