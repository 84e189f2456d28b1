"""The main job, start to end: build YOLOv8-s with ReLU6, export it in every format, compare, measure, look at it.

python examples/demo.py [--weights yolov8s.pt] [--image-size 640] [--out demo]

With a checkpoint of an original it is the network that the file is of, and the picture shows trained features.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    import keras
    import matplotlib.pyplot as plt
    import numpy as np
    from photographs import letterboxed
    from photographs import photographs as sources
    from rich.console import Console
    from rich.table import Column, Table

    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.benchmark import Candidate, Latency, measure, onnx_runner, saved_model_runner, threads
    from keras_yolo_backbones.commands.common import Timings, readable_bytes, timings_table, working
    from keras_yolo_backbones.litert import LiteModel

console = Console()


def main() -> None:
    """Run the demo; the table goes to the terminal, files and picture to the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a checkpoint of an original project")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--out", type=Path, default=Path("demo"))
    parser.add_argument("--timings", action="store_true", help="print where the time went")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    timings: Timings = []
    with working(console, f"reading {args.weights}" if args.weights else "building v8-s with ReLU6", timings):
        model = built(args.weights, args.image_size)
        photographs = letterboxed(args.image_size, args.image_size)
    artifacts = exported(model, photographs, args.out, timings)
    with working(console, "measuring latency, all in turns", timings):
        latency = compared(model, artifacts)
    console.print(table(model, artifacts, latency))
    console.print(
        f"Latency is relative to the Keras model's predict_on_batch in this same run "
        f"({latency['keras'].seconds * 1e3:.0f} ms, {threads()} threads).",
        soft_wrap=True,
    )
    with working(console, "drawing feature maps", timings):
        picture = draw(model, next(iter(sources())), args.out / "features.png", trained=bool(args.weights))
    console.print(f"Feature maps on a photograph: {picture}")
    if args.weights:
        origin = kyb.get_provenance(model)
        console.print(f"Weights: {origin.file}, {origin.licence}, of {origin.project}", soft_wrap=True)
    else:
        console.print("Look at sizes, agreement and latency. The weights are random:\nthe maps are edges and noise.")
        console.print("`make demo WEIGHTS=yolov8s.pt` shows what a trained network sees.")
    if args.timings:
        console.print(timings_table(timings))


def built(weights: Path | None, side: int) -> keras.Model:
    """The network of a checkpoint, or YOLOv8-s with ReLU6."""
    shape = (side, side, 3)
    if weights:
        return kyb.from_checkpoint(weights, input_shape=shape)
    return kyb.v8("s", activation="relu6", input_shape=shape)


def exported(model: keras.Model, photographs: np.ndarray, out: Path, timings: Timings) -> list[kyb.Artifact]:
    """One file of each format."""
    name = model.name.replace("-", "")
    with working(console, f"TFLite, int8, calibrated on {len(photographs)} photographs", timings):
        tflite = kyb.export_tflite(model, out / f"{name}.tflite", precision="int8", calibration=photographs)
    with working(console, "SavedModel", timings):
        # A laptop's server: batches of 32, the largest by default, would take 4 GB to warm up.
        saved_model = kyb.export_saved_model(model, out / "serving" / name, batch_sizes=(1, 8))
    with working(console, "ONNX", timings):
        onnx = kyb.export_onnx(model, out / f"{name}.onnx")
    return [tflite, saved_model, onnx]


def compared(model: keras.Model, artifacts: list[kyb.Artifact]) -> dict[str, Latency]:
    """How long the model and each file take for one image."""
    tflite, saved_model, onnx = (artifact.path for artifact in artifacts)
    runners: dict[str, Candidate] = {
        "keras": model.predict_on_batch,
        "tflite": LiteModel(tflite, threads=threads()),
        "saved_model": saved_model_runner(saved_model),
        "onnx": onnx_runner(onnx),
    }
    return measure(runners, model, rounds=5, yardstick=False)


def table(model: keras.Model, artifacts: list[kyb.Artifact], latency: dict[str, Latency]) -> Table:
    """A row for each file: its size, how closely each level follows the model, and its share of Keras' time."""
    levels = [level.name for level in kyb.pyramid(model)]
    file = Column("file", overflow="fold")
    found = Table(file, "size", *(f"{level} SNR" for level in levels), "latency / Keras", box=None, pad_edge=False)
    for artifact in artifacts:
        agreement = artifact.manifest["agreement"]
        ratios = [f"{agreement[level]['snr_db']:.1f} dB" for level in levels]
        share = latency[artifact.manifest["format"]].ratio
        found.add_row(str(artifact.path), readable_bytes(artifact.size), *ratios, f"{share:.2f}")
    return found


def draw(model: keras.Model, photograph: np.ndarray, path: Path, *, trained: bool) -> Path:
    """A row for each level: the photograph, and the three channels that change most over it, without the bars."""
    height, width = model.input.shape[1:3]
    frame = kyb.letterbox(photograph, height, width)
    features = model.predict_on_batch(frame.image[np.newaxis] / np.float32(255))
    inside = slice(frame.top, height - frame.top), slice(frame.left, width - frame.left)
    levels = kyb.pyramid(model)
    figure, axes = plt.subplots(len(levels), 4, figsize=(12, 2.6 * len(levels) + 0.5), layout="constrained")
    for row, level in zip(axes, levels, strict=True):
        top, left = round(frame.top / level.stride), round(frame.left / level.stride)
        values = features[level.name][0]
        values = values[top : values.shape[0] - top, left : values.shape[1] - left]
        row[0].imshow(frame.image[inside])
        row[0].set_title(
            f"{level.name}: {values.shape[0]}×{values.shape[1]} cells of {level.stride} pixels", fontsize=9
        )
        for axis, channel in zip(row[1:], np.argsort(-values[1:-1, 1:-1].std((0, 1)))[:3], strict=True):
            axis.imshow(values[..., channel], cmap="viridis")
            axis.set_title(f"channel {channel} of {level.channels}", fontsize=9)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(
        f"{model.name}, {'trained' if trained else 'random'} weights: the channels that vary most, dark is low"
    )
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


if __name__ == "__main__":
    with native_noise_hidden():
        main()
