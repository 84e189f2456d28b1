"""What int8 costs trained networks, by every method: `make trained CACHE=dir` or `python zoo/trained.py --cache dir`.

The networks come in packages of the Python index (trained_files.py), which pip downloads to the cache; images are
samples of installed packages, and the files are measured on others than they are calibrated on. A row is a network and
a method: signal-to-noise ratio of every level in dB, seconds, and for detectors recall and precision of the boxes of
the original head on int8 features, against those on float features. Rows are written when they are ready, and are not
measured again: the script can be interrupted. `--methods` without any only prints and draws what is there. A peer,
ai-edge-quantizer, takes part where it is installed: `make trained-peers` installs it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from matplotlib.figure import Figure
from trained_files import SIDE, SOURCES, Files
from trained_heads import Detector, found_again
from trained_images import Images, micrographs, photographs

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.converter import convert
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.quantization.calibration import calibration_images

FOLDER = Path(__file__).parent


def by_converter(model: keras.Model, images: np.ndarray, file: Path) -> None:
    """TFLiteConverter by itself: its own calibration, on the fused network."""
    samples = calibration_images(images, shape=(SIDE, SIDE, 3))
    plain = kyb.fuse(model)
    file.write_bytes(convert(plain, plain.inputs[0].name, (SIDE, SIDE, 3), "int8", samples=samples))


def by_method(method: str) -> Callable[[keras.Model, np.ndarray, Path], None]:
    """Ranges of a plan."""

    def export(model: keras.Model, images: np.ndarray, file: Path) -> None:
        kyb.export_tflite(model, file, precision="int8", calibration=images, method=method, least_snr_db=0.0)

    return export


def by_equalization(model: keras.Model, images: np.ndarray, file: Path) -> None:
    """Ranges of a plan, after channels were brought to like sizes."""
    by_method("auto")(kyb.quantization.equalize(model, images), images, file)


def by_reconstruction(model: keras.Model, images: np.ndarray, file: Path) -> None:
    """Rounding, biases and ranges learned part by part."""
    aware = kyb.quantization.reconstruct(model, kyb.quantization.plan(model, images), images, quiet=True)
    kyb.export_tflite(aware, file, least_snr_db=0.0)


def by_wider_activations(model: keras.Model, images: np.ndarray, file: Path) -> None:
    """Activations of 16 bits, kernels of 8."""
    kyb.export_tflite(model, file, precision="int16x8", calibration=images, least_snr_db=0.0)


def by_training(model: keras.Model, images: np.ndarray, file: Path) -> None:
    """Quantization-aware training as it is by default, without labels."""
    aware = kyb.quantize_aware(model, images)
    kyb.quantization.distill(model, aware, images, quiet=True)
    kyb.export_tflite(aware, file, least_snr_db=0.0)


def by_edge_quantizer(model: keras.Model, images: np.ndarray, file: Path) -> None:
    """ai-edge-quantizer's static int8 of our float file: what users of litert-torch get."""
    from edge_quantizer import quantized

    plain = kyb.export_tflite(model, file.with_name("float.tflite")).path
    quantized(plain, [image[np.newaxis] for image in np.float32(images) / 255], file)


METHODS: dict[str, Callable[[keras.Model, np.ndarray, Path], None]] = {
    "TFLiteConverter": by_converter,
    "ai-edge-quantizer": by_edge_quantizer,
    **{method: by_method(method) for method in ("minmax", "percentile", "mse", "auto")},
    "auto, equalized": by_equalization,
    "reconstruct": by_reconstruction,
    "QAT": by_training,
    "int16x8": by_wider_activations,
}


def main() -> None:
    """Measure what is missing, write it, print and draw everything."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("trained"), help="wheels are kept here")
    parser.add_argument("--files", type=Path, help="a folder with the weight files themselves")
    parser.add_argument("--networks", nargs="*", default=list(SOURCES), choices=list(SOURCES))
    here = [name for name in METHODS if name != "ai-edge-quantizer" or importlib.util.find_spec("ai_edge_quantizer")]
    parser.add_argument("--methods", nargs="*", default=here, choices=list(METHODS))
    parser.add_argument("--out", type=Path, default=FOLDER / "trained.json")
    args = parser.parse_args()
    rows = json.loads(args.out.read_text()) if args.out.exists() else []
    files = Files(args.cache, args.files)
    for network in args.networks:
        missing = [m for m in args.methods if not any((r["network"], r["method"]) == (network, m) for r in rows)]
        if not missing:
            continue
        images = images_for(network, files)
        model = files.network(network)
        detector = Detector(files.tensors(network)) if SOURCES[network].head else None
        for method in missing:
            rows.append({"network": network, "method": method} | measured(model, images, method, detector))
            print(json.dumps(rows[-1]), flush=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    args.out.with_suffix(".md").write_text(page(rows, args.out.with_suffix(".png").name))
    draw(rows, args.out.with_suffix(".png"))


def images_for(network: str, files: Files) -> Images:
    """What a network is calibrated on and measured on."""
    if network == "tau":
        return micrographs(files.micrograph(), SIDE)
    return photographs(SIDE, people=network == "nudenet")


def measured(model: keras.Model, images: Images, method: str, detector: Detector | None) -> dict[str, Any]:
    """One row."""
    held_out = np.float32(images.held_out) / 255
    wanted = joined(lambda image: model(image, training=False), held_out)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        METHODS[method](model, images.calibration, file)
        seconds = time.monotonic() - start
        given = joined(LiteModel(file), held_out)
    row: dict[str, Any] = {"db": {level: agreement(wanted[level], given[level]).snr_db for level in wanted}}
    row |= {"seconds": seconds, "date": time.strftime("%Y-%m-%d"), "machine": machine()}
    if detector:
        row["boxes"] = found_again(detector(wanted), detector(given))
    return row


def joined(run: Callable[[np.ndarray], Any], images: np.ndarray) -> dict[str, np.ndarray]:
    """The levels of all images, which are run one by one."""
    outputs = [run(images[index : index + 1]) for index in range(len(images))]
    return {level: np.concatenate([np.asarray(output[level]) for output in outputs]) for level in outputs[0]}


def machine() -> str:
    """The processor and how many cores of it."""
    found = (
        [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        if Path("/proc/cpuinfo").exists()
        else []
    )
    return f"{found[0] if found else platform.processor()}, {os.cpu_count()} cores"


def table(rows: list[dict[str, Any]]) -> str:
    """All rows as Markdown."""
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    lines = [f"| network | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    for network in SOURCES:
        found = {row["method"]: row for row in rows if row["network"] == network}
        if found:
            lines.append(f"| {network} | {' | '.join(cell(found.get(method)) for method in methods)} |")
    return "\n".join(lines)


def page(rows: list[dict[str, Any]], plot: str) -> str:
    """The table with what has to be known of it."""
    days = sorted({(row["machine"], row["date"]) for row in rows})
    told = [f"{machine}, {date} ({'; '.join(methods_of(rows, machine, date))})" for machine, date in days]
    packages = ", ".join(f"{name} from `{source.package}`" for name, source in SOURCES.items())
    return f"""# int8 of trained networks

`make trained CACHE=dir` measures this, and `make trained-peers CACHE=dir` ai-edge-quantizer's int8 of our float files:
int8 TFLite files of trained networks at {SIDE}×{SIDE}, run by LiteRT on images that none was calibrated on.
Signal-to-noise ratio of P3/P4/P5 in dB against the float network; after it, for detectors with {LEAST_BOXES} boxes or
more, recall/precision of the boxes that the original head finds in int8 features (probability 0.25, IoU 0.5), against
those that it finds in float features. A dash was not measured. "reconstruct" and "QAT" start from the ranges that
"auto" chose on their own day.

{table(rows)}

![the weakest level of each]({plot})

Measured on {", and ".join(told)}. Networks: {packages}.
"""


def methods_of(rows: list[dict[str, Any]], machine: str, date: str) -> list[str]:
    """What was measured on a machine on a day."""
    found = {row["method"] for row in rows if (row["machine"], row["date"]) == (machine, date)}
    return [method for method in METHODS if method in found]


def cell(row: dict[str, Any] | None) -> str:
    """dB of the levels and, of a detector, recall and precision."""
    if row is None:
        return "–"
    text = "/".join(f"{ratio:.1f}" for ratio in row["db"].values())
    if row.get("boxes", {}).get("boxes", 0) >= LEAST_BOXES:
        text += f", {row['boxes']['recall']:.2f}/{row['boxes']['precision']:.2f}"
    return text


LEAST_BOXES = 20
"""Fewer say nothing of recall and precision."""


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """The weakest level of every network, method by method."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    networks = [name for name in SOURCES if any(row["network"] == name for row in rows)]
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    for index, method in enumerate(methods):
        found = {row["network"]: min(row["db"].values()) for row in rows if row["method"] == method}
        places = [networks.index(name) + (index - len(methods) / 2) * 0.8 / len(methods) for name in found]
        axes.bar(places, list(found.values()), 0.8 / len(methods), label=method, align="edge")
    axes.set_xticks(range(len(networks)), networks)
    axes.set(ylabel="SNR of the weakest level, dB", title="int8 files against their float networks, held-out images")
    figure.legend(loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
