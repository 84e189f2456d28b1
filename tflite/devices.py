"""What real compilers and interpreters say of the two smallest sizes of every family: devices.json, .md and a plot.

python tflite/devices.py [names …] --sides 192 320 640

Each row is written as soon as it is measured, and rows that are there are not measured again: it can be interrupted.
The ranges of a network are found once, at 192. A convolutional network is exported once and its file resized; a test
holds resized files equal to exported ones.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
from resizing import resized

import keras_yolo_backbones as kyb
from keras_yolo_backbones.arena import memory
from keras_yolo_backbones.benchmark import noise
from keras_yolo_backbones.litert import operators
from keras_yolo_backbones.targets.check import check_tflite

SMALLEST = (
    *("v3-tiny", "v4-tiny", "v5-n", "v6-n", "v7-tiny", "v8-n", "v9-t", "yolox-nano", "damo-ns", "rtmdet-tiny"),
    *("ppyoloe-s", "nas-s", "v10-n", "v11-n", "v26-n", "v12-turbo-n", "v12-n", "v13-n"),
)
SECOND = (
    *("v3-base", "v4-csp", "v5-s", "v6-s", "v7-base", "v8-s", "v9-s", "yolox-tiny", "damo-nm", "rtmdet-s"),
    *("ppyoloe-m", "nas-m", "v10-s", "v11-s", "v26-s", "v12-turbo-s", "v12-s", "v13-s"),
)
NETWORKS = (*SMALLEST, *SECOND)
FOLDER = Path(__file__).parent
NPUS = ("ethos-u55-128", "ethos-u55-256", "ethos-u85-512")
FIRST = 192
"""The side that ranges are found at, and that convolutional networks are exported at."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=NETWORKS)
    parser.add_argument("--sides", nargs="+", type=int, default=[192, 320, 640])
    parser.add_argument("--activations", nargs="+", default=["relu6", "own"], help="own is the family's")
    parser.add_argument("--files", type=Path, help="keep exported files here, and take them from here")
    parser.add_argument("--json", type=Path, default=FOLDER / "devices.json")
    args = parser.parse_args()
    rows = json.loads(args.json.read_text()) if args.json.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names:
            for key in keys(name, args.sides, args.activations):
                if any(key.items() <= row.items() for row in rows):
                    continue
                rows.append(key | measured(key, args.files or Path(folder)))
                print(json.dumps(rows[-1]), flush=True)
                write(args.json, rows)
    write(args.json, rows)


def keys(name: str, sides: list[int], activations: list[str]) -> list[dict[str, Any]]:
    """The rows of one network."""
    return [{"network": name, "activation": one, "side": side} for one in activations for side in sides]


def measured(key: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Everything that the tools say of one network."""
    file = exported(key, folder)
    found: dict[str, Any] = {"date": datetime.date.today().isoformat(), "tools": tools()}
    found |= {"mb": file.stat().st_size / 1e6, "operators": len(operators(file))}
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


def tools() -> dict[str, str]:
    """Package -> version, of the tools that answer."""
    return {package: version(package) for package in ("ethos-u-vela", "tflite-micro", "ai-edge-litert")}


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
    options = {"precision": "int8", "calibration": ranges(key, folder), "least_snr_db": -50}  # random weights
    return kyb.export_tflite(built(key, key["side"]), path(key["side"]), **options).path


def ranges(key: dict[str, Any], folder: Path) -> Path:
    """The file of a network's plan."""
    file = folder / f"{key['network']}-{key['activation']}.json"
    if not file.exists():
        model = built(key, FIRST)
        kyb.quantization.plan(model, noise(model), method="minmax").save(file)
    return file


def built(key: dict[str, Any], side: int) -> keras.Model:
    """A network with random weights, always the same."""
    keras.utils.set_random_seed(0)
    activation = None if key["activation"] == "own" else key["activation"]
    return kyb.create(key["network"], activation=activation, input_shape=(side, side, 3))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as JSON, the table as Markdown and the plot, beside each other."""
    from devices_page import page, plot

    ordered = sorted(rows, key=lambda row: (row["side"], NETWORKS.index(row["network"]), row["activation"] == "own"))
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in ordered) + "\n]\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(ordered), encoding="utf-8")
    plot(ordered, path.with_suffix(".png"))


if __name__ == "__main__":
    main()
