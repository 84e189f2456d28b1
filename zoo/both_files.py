"""The int8 TFLite file and the int8 ONNX file of trained networks, side by side: `python zoo/both_files.py FOLDER`.

FOLDER holds weight files of the originals. Each network is built as its file says, planned on photographs of installed
packages, written as both files, and run on others. A row a level: signal-to-noise ratio of each file against the float
network in dB, and which share of the values of the ONNX file are those of the TFLite file, or at most one step away, in
onnxruntime with its optimizations and without.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import skimage.data
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import BackboneError
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.quantization.planning import METHODS

SUFFIXES = (".pt", ".pth", ".safetensors", ".weights")
HEADINGS = ("network", "method", "level", "TFLite dB", "ONNX dB", "equal", "within 1", "unoptimized", "within 1")


def main() -> int:
    """Print a row when it is ready, and all of them at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with weight files")
    parser.add_argument("--methods", nargs="+", default=["minmax", "auto"], choices=METHODS)
    parser.add_argument("--side", type=int, default=160, help="of the images")
    args = parser.parse_args()
    table = Table(*HEADINGS, box=None, pad_edge=False)
    for path in sorted(args.folder.iterdir()):
        if path.suffix not in SUFFIXES:
            continue
        try:
            model = kyb.from_checkpoint(path, input_shape=(args.side, args.side, 3))
        except BackboneError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            continue
        for method in args.methods:
            for row in compared(model, method, args.side):
                table.add_row(path.stem, *row)
                print(path.stem, *row, file=sys.stderr, flush=True)
        keras.backend.clear_session()
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    return 0 if table.row_count else 1


def compared(model: keras.Model, method: str, side: int) -> list[tuple[str, ...]]:
    """The rows of one network."""
    images = image_input(model)
    held_out = np.float32(photographs(HELD_OUT, side)) * np.float32(images.preprocessing.range[1] / 255)
    plan = kyb.quantization.plan(model, photographs(CALIBRATION, side), method=method)
    options = {"precision": "int8", "calibration": plan, "least_snr_db": -100.0}
    with tempfile.TemporaryDirectory() as folder:
        lite = kyb.export_tflite(model, Path(folder) / "m.tflite", **options)
        file = kyb.export_onnx(model, Path(folder) / "m.onnx", **options)
        wanted = LiteModel(lite.path)(held_out)
        given = [run_onnx(file.path, images.name, held_out, optimized=optimized) for optimized in (True, False)]
    exact = run(model, held_out)
    rows = []
    for level, values in wanted.items():
        decibels = [f"{agreement(exact[level], found).snr_db:.2f}" for found in (values, given[0][level])]
        step = file.manifest["integers"][level]["scale"]
        distances = [np.rint(np.abs(found[level] - values) / step) for found in given]
        shares = [f"{np.mean(distance <= most):.4f}" for distance in distances for most in (0, 1)]
        rows.append((method, level, *decibels, *shares))
    return rows


CALIBRATION = ("flower", "astronaut", "rocket", "coins")
HELD_OUT = ("china", "coffee", "chelsea")


def photographs(names: tuple[str, ...], side: int) -> np.ndarray:
    """Photographs of scikit-learn and scikit-image: each whole, and its four quarters, letterboxed to (side, side)."""
    china, flower = load_sample_images().images
    given = {"china": china, "flower": flower}
    views = []
    for name in names:
        image = given[name] if name in given else getattr(skimage.data, name)()
        image = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
        height, width = image.shape[0] // 2, image.shape[1] // 2
        views += [image, *(image[y : y + height, x : x + width] for y in (0, height) for x in (0, width))]
    return np.stack([kyb.letterbox(np.ascontiguousarray(view), side, side).image for view in views])


if __name__ == "__main__":
    sys.exit(main())
