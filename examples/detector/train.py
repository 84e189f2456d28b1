"""Train a detector on any backbone: first neck and heads, then everything, then as int8 will compute it.

    python examples/detector/digits.py build/digits                        # a small task from scikit-learn's images
    python examples/detector/train.py build/digits --backbone v8-n --out build/detector

The folder holds train/ and test/, each in YOLO's text format (see data.py). A run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from data import Folder
from evaluate import mean_average_precision
from loss import Detector
from network import build_detector

import keras_yolo_backbones as kyb
from keras_yolo_backbones.litert import LiteModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", default="v8-n", help="a name that `kyb list` gives")
    parser.add_argument("--weights", type=Path, help="an original's checkpoint to start from")
    parser.add_argument("--activation", default="relu6")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, nargs=3, default=(1, 20, 2), help="with frozen backbone, whole, int8")
    parser.add_argument("--out", type=Path, default=Path("build/detector"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)

    shape = (args.image_size, args.image_size, 3)
    backbone = kyb.create(args.backbone, activation=args.activation, input_shape=shape)
    if args.weights:
        kyb.load_weights(backbone, args.weights)
    detector = Detector(build_detector(backbone, args.classes, activation=args.activation))
    batches, test = Folder(args.folder / "train", detector), args.folder / "test"
    frozen, whole, rounded = args.epochs
    kyb.freeze(backbone)
    train(detector, batches, frozen, 1e-3, args.out / "frozen")
    kyb.unfreeze(detector)
    train(detector, batches, whole, 1e-3, args.out / "whole")
    detector.save_weights(args.out / "detector.weights.h5")
    print(f"mAP float: {mean_average_precision(detector, detector.predict_on_batch, test):.1f}")

    images = np.concatenate([batches[index][0] for index in range(min(8, len(batches)))])
    aware = Detector(kyb.quantize_aware(detector, images))
    train(aware, batches, rounded, 1e-5, args.out / "int8")
    file = kyb.export_tflite(aware, args.out / "detector.tflite").path
    print(
        f"mAP int8: {mean_average_precision(detector, LiteModel(file), test):.1f}, {file.stat().st_size / 1e3:.0f} kB"
    )


def train(model: Detector, batches: Folder, epochs: int, rate: float, backup: Path) -> None:
    """Some epochs with a falling learning rate; a run that was ended goes on after the last whole epoch."""
    if not epochs:
        return
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(batches))
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=10.0))
    keep_on = keras.callbacks.BackupAndRestore(backup, delete_checkpoint=False)
    model.fit(batches, epochs=epochs, callbacks=[keep_on], verbose=2)


if __name__ == "__main__":
    main()
