"""What int8 costs on a task: trains a detector in float, makes int8 files after and with training, prints a table.

    python examples/digits_detector/run.py --out build/digits --seeds 3 [--empty]

Needs the package's `dev` extra. All numbers are measured on the .tflite files, through LiteRT; what `--out` holds
already is not trained or measured again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
from data import make_backgrounds, make_digits
from evaluate import mean_average_precision
from train import train_float

import keras_yolo_backbones as kyb
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.quantization.calibration import calibration_images

CALIBRATION, DISTILLATION, TEST = 64, 1000, 500
"""Images that ranges come from; images, without labels, that quantized weights are tuned on; images of the test."""

FORMS = ("float", "PTQ", "QAT")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/digits"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["v8-n"])
    parser.add_argument("--activations", nargs="+", default=["relu6", "silu"])
    parser.add_argument("--calibration", type=int, default=CALIBRATION, help="images that ranges come from")
    parser.add_argument(
        "--empty", action="store_true", help="ranges from backgrounds without digits; training learns them anew"
    )
    args = parser.parse_args()
    rows = []
    for name in args.models:
        for activation in args.activations:
            runs = [
                measure(name, activation, seed, args.calibration, args.out, empty=args.empty)
                for seed in range(args.seeds)
            ]
            rows.append(row(f"{name} {activation}", runs))
    table = "\n".join([HEADER, *rows])
    print(table)
    (args.out / f"table-{'empty-' * args.empty}{args.calibration}.md").write_text(table + "\n", encoding="utf-8")


def measure(
    name: str, activation: str, seed: int, calibration: int, folder: Path, *, empty: bool
) -> dict[str, dict[str, float]]:
    """Form -> mAP in percent, kilobytes, and latency as a multiple of the float file's."""
    files = make_files(name, activation, seed, calibration, folder, empty=empty)
    test = make_digits(TEST, seed=2000, training=False)
    ratios = latencies([LiteModel(file) for file in files.values()], test.images[:1])
    return {
        form: {"mAP": mean_average_precision(file, test), "kB": file.stat().st_size / 1e3, "latency": ratio}
        for (form, file), ratio in zip(files.items(), ratios, strict=True)
    }


def make_files(
    name: str, activation: str, seed: int, calibration: int, folder: Path, *, empty: bool
) -> dict[str, Path]:
    """Form -> its `.tflite` file; those that `folder` holds already are not made again."""
    stem = f"digits-{name}-{activation}-{seed}"
    files = {form: folder / f"{stem}-{form}-{'empty-' * empty}{calibration}.tflite" for form in FORMS}
    if all(file.exists() for file in files.values()):
        return files
    model = train_float(name, activation, seed, folder)
    images = make_digits(DISTILLATION, seed=1000 + seed, training=True).images
    few = make_backgrounds(calibration, seed=1000 + seed) if empty else images[:calibration]
    aware = kyb.quantize_aware(model, few, learn_ranges=empty)
    samples = calibration_images(images, shape=images.shape[1:], most=DISTILLATION)
    epochs = 15 if empty else 6
    kyb.quantization.distill(model, aware, samples, epochs=epochs, batch_size=32, learning_rate=1e-4)
    kyb.export_tflite(model, files["float"])
    # What this bound would refuse is what the table is to show.
    kyb.export_tflite(model, files["PTQ"], precision="int8", calibration=few, least_snr_db=-20)
    kyb.export_tflite(aware, files["QAT"], least_snr_db=-20)
    return files


def latencies(models: list[LiteModel], image: np.ndarray, rounds: int = 101) -> list[float]:
    """Time of each model over that of the first, one thread, in turns: median of the rounds."""
    batch = np.float32(image) / 255
    times = np.zeros((rounds, len(models)))
    for turn in range(rounds):
        for index, model in enumerate(models):
            start = time.perf_counter()
            model(batch)
            times[turn, index] = time.perf_counter() - start
    return [float(np.median(times[:, index] / times[:, 0])) for index in range(len(models))]


HEADER = (
    "| detector | seeds | mAP float | mAP PTQ | mAP QAT | PTQ − float | QAT − float | float, kB | int8, kB | int8 × |"
    "\n|---|---|---|---|---|---|---|---|---|---|"
)


def row(title: str, runs: list[dict[str, dict[str, float]]]) -> str:
    """One line of the table: means over the seeds ± their standard deviation."""

    def over(values: list[float], sign: str = "") -> str:
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):{sign}.2f}{spread}"

    maps = [over([run[form]["mAP"] for run in runs]) for form in FORMS]
    losses = [over([run[form]["mAP"] - run["float"]["mAP"] for run in runs], "+") for form in FORMS[1:]]
    sizes = [f"{runs[0][form]['kB']:.0f}" for form in ("float", "QAT")]
    ratio = f"{statistics.mean(run['QAT']['latency'] for run in runs):.2f}×"
    return f"| {' | '.join([title, str(len(runs)), *maps, *losses, *sizes, ratio])} |"


if __name__ == "__main__":
    main()
