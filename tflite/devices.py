"""What real compilers and interpreters say of the smallest network of every family: devices.json, devices.md, a plot.

python tflite/devices.py [names …] --sides 192 320 640

Each row is written as soon as it is measured, and rows that are there are not measured again: it can be interrupted. A
convolutional network is exported once and its file resized; a test holds resized files equal to exported ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from resizing import resized

import keras_yolo_backbones as kyb
from keras_yolo_backbones.arena import memory
from keras_yolo_backbones.benchmark import noise
from keras_yolo_backbones.litert import operators
from keras_yolo_backbones.targets.check import check_tflite

SMALLEST = (
    *("v3-tiny", "v4-tiny", "v5-n", "v6-n", "v7-tiny", "v8-n", "v9-t", "yolox-nano", "damo-ns", "rtmdet-tiny"),
    *("ppyoloe-s", "nas-s", "v10-n", "v11-n", "v26-n", "v12-turbo-n", "v13-n"),
)
FOLDER = Path(__file__).parent
NPUS = ("ethos-u55-128", "ethos-u55-256", "ethos-u85-512")
FIRST = 192
"""The side that networks are exported at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=SMALLEST)
    parser.add_argument("--sides", nargs="+", type=int, default=[192, 320, 640])
    parser.add_argument("--activations", nargs="+", default=["relu6", "own"], help="own is the family's")
    parser.add_argument("--files", type=Path, help="keep exported files here, and take them from here")
    parser.add_argument("--json", type=Path, default=FOLDER / "devices.json")
    args = parser.parse_args()
    rows = json.loads(args.json.read_text()) if args.json.exists() else []
    for side in args.sides:
        for name in args.names:
            for activation in args.activations:
                key = {"network": name, "activation": activation, "side": side}
                if any(key.items() <= row.items() for row in rows):
                    continue
                row = key | measured(key, args.files)
                rows.append(row)
                print(json.dumps(row), flush=True)
                write(args.json, rows)
    write(args.json, rows)


def measured(key: dict[str, Any], files: Path | None) -> dict[str, Any]:
    """Everything that the tools say of one network."""
    with tempfile.TemporaryDirectory() as folder:
        file = exported(key, files or Path(folder))
        found: dict[str, Any] = {"mb": file.stat().st_size / 1e6, "operators": len(operators(file))}
        for target in NPUS:
            report = check_tflite(file, target)
            keys = ("ms", "cycles", "npu_passes", "sram_bytes", "dram_bytes", "macs")
            left = {refusal.operator: refusal.count for refusal in report.refused}
            found[target] = {"taken": report.taken, "left": left, **{name: report.facts[name] for name in keys}}
        xnnpack = check_tflite(file, "xnnpack")
        left = {refusal.operator: refusal.count for refusal in xnnpack.refused}
        found["xnnpack"] = {"taken": xnnpack.taken, "left": left, "parts": xnnpack.facts["parts"]}
        found["memory"] = memory(file)
        found["micro"] = micro(file) if key["side"] <= 320 else None
    return found


def micro(file: Path) -> dict[str, Any]:
    """TFLite Micro's arena, or why there is none."""
    try:
        return check_tflite(file, "tflite-micro").facts
    except kyb.ExportError as error:
        return {"error": str(error)}


def exported(key: dict[str, Any], folder: Path) -> Path:
    """The int8 file of a network: as it is in `folder`, resized from one that is there, or exported."""

    def path(side: int) -> Path:
        return folder / f"{key['network']}-{key['activation']}-{side}.tflite"

    if path(key["side"]).exists():
        return path(key["side"])
    first = path(FIRST)
    if first.exists() and (content := resized(first, key["side"])):
        path(key["side"]).write_bytes(content)
        return path(key["side"])
    activation = None if key["activation"] == "own" else key["activation"]
    model = kyb.create(key["network"], activation=activation, input_shape=(key["side"], key["side"], 3))
    options = {"precision": "int8", "calibration": noise(model), "least_snr_db": -20}  # random weights
    return kyb.export_tflite(model, path(key["side"]), **options).path


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as JSON, the table as Markdown and the plot, beside each other."""
    from devices_page import page, plot

    ordered = sorted(rows, key=lambda row: (row["side"], SMALLEST.index(row["network"]), row["activation"] == "own"))
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in ordered) + "\n]\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(ordered), encoding="utf-8")
    plot(ordered, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
