"""The main job, start to end: build YOLOv8-s with ReLU6, export it in every format, compare, measure, look at it.

python examples/demo.py [--image-size 640] [--out demo]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from photographs import letterboxed
from rich.console import Console
from rich.table import Table

import keras_yolo_backbones as kyb
from keras_yolo_backbones.benchmark import Candidate, measure, onnx_runner, saved_model_runner, threads
from keras_yolo_backbones.commands.common import readable_bytes, working
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.quiet import native_noise_hidden

console = Console()


def main() -> None:
    """Run the demo; the table goes to the terminal, files and picture to the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    args = parser.parse_args()
    args.out.mkdir(exist_ok=True)

    with working(console, "building v8-s with ReLU6"):
        model = kyb.v8("s", activation="relu6", input_shape=(args.image_size, args.image_size, 3))
        photographs = letterboxed(args.image_size, args.image_size)
    with working(console, f"TFLite, int8, calibrated on {len(photographs)} photographs"):
        tflite = kyb.export_tflite(model, args.out / "v8s.tflite", precision="int8", calibration=photographs)
    with working(console, "SavedModel"):
        saved_model = kyb.export_saved_model(model, args.out / "serving" / "v8s")
    with working(console, "ONNX"):
        onnx = kyb.export_onnx(model, args.out / "v8s.onnx")

    runners: dict[str, Candidate] = {
        "keras": model.predict_on_batch,
        "tflite": LiteModel(tflite.path, threads=threads()),
        "saved_model": saved_model_runner(saved_model.path),
        "onnx": onnx_runner(onnx.path),
    }
    with working(console, "measuring latency, all in turns"):
        latency = measure(runners, model, rounds=7)

    levels = [level.name for level in kyb.pyramid(model)]
    table = Table("file", "size", *(f"{level} SNR" for level in levels), "latency / Keras", box=None, pad_edge=False)
    for artifact in (tflite, saved_model, onnx):
        agreement = artifact.manifest["agreement"]
        ratios = [f"{agreement[level]['snr_db']:.1f} dB" for level in levels]
        kind = artifact.manifest["format"]
        table.add_row(str(artifact.path), readable_bytes(artifact.size), *ratios, f"{latency[kind].ratio:.2f}")
    console.print(table)
    console.print(
        f"Latency is relative to the Keras model's predict_on_batch in this same run "
        f"({latency['keras'].seconds * 1e3:.0f} ms, {threads()} threads)."
    )
    picture = draw(model, photographs[0], args.out / "features.png")
    console.print(f"Feature maps on a photograph: {picture}")
    console.print("The weights are random until a checkpoint is imported: this shows shape, size and speed, not skill.")


def draw(model: object, photograph: np.ndarray, path: Path) -> Path:
    """The photograph and, for each level, the mean over the channels as a heat map."""
    features = model.predict_on_batch(photograph[np.newaxis] / np.float32(255))
    figure, axes = plt.subplots(1, 1 + len(features), figsize=(4 * (1 + len(features)), 4.4), layout="constrained")
    axes[0].imshow(photograph)
    axes[0].set_title("photograph")
    for axis, level in zip(axes[1:], kyb.pyramid(model), strict=True):
        heat = features[level.name][0].mean(-1)
        axis.imshow(heat, cmap="viridis", extent=(0, photograph.shape[1], photograph.shape[0], 0))
        axis.set_title(f"{level.name}  stride {level.stride}, {heat.shape[0]}×{heat.shape[1]}×{level.channels}")
    for axis in axes:
        axis.set_axis_off()
    figure.suptitle(f"{model.name}, ReLU6, random weights: mean over the channels of each level")
    figure.savefig(path, dpi=100)
    return path


if __name__ == "__main__":
    with native_noise_hidden():
        main()
