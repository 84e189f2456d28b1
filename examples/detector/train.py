"""Train a detector on any backbone: first neck and heads, then everything, then as int8 will compute it.

    python examples/detector/digits.py build/digits                        # a small task from scikit-learn's images
    python examples/detector/train.py build/digits --backbone v8-n --out build/detector

The folder holds train/ and test/, each in YOLO's text format or in COCO's (see labels.py). A run that was ended goes on
after its last whole epoch, with the same options. What was measured is printed and kept in measured.json; table.py
makes a table of it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    import keras
    import numpy as np
    from begun import go_on
    from boxes import Decoder
    from data import Batches
    from evaluate import mean_average_precision
    from labels import read_task
    from loss import Detector
    from network import build_detector
    from rates import StageRates, factor

    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.litert import LiteModel

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")

CALIBRATION = 64
"""Images that int8 ranges come from."""


def main() -> None:
    args = parser().parse_args()
    try:
        run(args)
    except (kyb.BackboneError, ValueError) as error:  # ValueError: an unreadable image
        raise SystemExit(str(error)) from None


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds train/ and test/, in YOLO's text format or in COCO's")
    parser.add_argument("--backbone", default="v8-n", help="a name that `kyb list` prints")
    parser.add_argument("--width", type=float, help="factor of the backbone's channels; by default the name's own")
    parser.add_argument("--weights", type=Path, help="an original's checkpoint to start from")
    parser.add_argument("--activation", default="relu6")
    parser.add_argument("--classes", type=int, help="how many; by default as many as the folder has")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate; a hundredth of it for int8")
    parser.add_argument(
        "--stage-rates", nargs="+", type=factor, default=[], metavar="LAYER=FACTOR", help="stem=0.1 'stage*=0.3'"
    )
    parser.add_argument("--epochs", type=int, nargs=3, default=(1, 20, 2), help="with frozen backbone, whole, int8")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="float32", help="to train in; int8 comes from float32"
    )
    parser.add_argument("--out", type=Path, default=Path("build/detector"))
    return parser


def run(args: argparse.Namespace) -> None:
    """The three stages of training, each followed by what it is good for."""
    start = time.monotonic()
    known, test = read_task(args.folder)
    classes = max(known.classes, test.classes)
    if args.classes is not None and args.classes < classes:
        raise SystemExit(f"--classes {args.classes}: {args.folder} has {classes}.")
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(args.precision)
    backbone, detector = build(args, args.classes or classes)
    batches = Batches(known, detector, batch=args.batch)
    for data in (batches, Batches(test, detector)):
        data.check()
    options = {name: value for name, value in vars(args).items() if name != "out"}
    go_on(args.out, "options.json", options | {"folder": args.folder.resolve()})
    (args.out / "classes.txt").write_text("".join(f"{name}\n" for name in known.names or range(classes)))

    frozen, whole, rounded = args.epochs
    kyb.freeze(backbone)
    train(detector, batches, frozen, args.rate, args.out / "frozen")
    kyb.unfreeze(detector)
    train(detector, batches, whole, args.rate, args.out / "whole", dict(args.stage_rates))
    detector.save_weights(args.out / "detector.weights.h5")
    score = mean_average_precision(detector, detector.predict_on_batch, test)
    measured = {"backbone": args.backbone, "parameters": detector.count_params(), "float": score}
    print(f"mAP float: {score:.1f}")
    export_float(detector, args.out)

    keras.config.set_dtype_policy("float32")  # weights are float32 in every precision; int8 is made of them
    images = np.stack([batches.one(index)[0] for index in range(min(CALIBRATION, len(known.files)))])
    aware = Detector(kyb.quantize_aware(detector, images))
    for form, epochs in (("ptq", 0), ("qat", rounded)):
        train(aware, batches, epochs, args.rate / 100, args.out / "int8")
        file = kyb.export_tflite(aware, args.out / f"detector.{form}.int8.tflite").path
        measured[form] = mean_average_precision(detector, LiteModel(file), test)
        print(f"mAP int8, {form.upper()}: {measured[form]:.1f}, {file.stat().st_size / 1e3:.0f} kB")
    print(kyb.export_onnx(aware, args.out / "detector.int8.onnx").path)
    measured |= {"kB": file.stat().st_size / 1e3, "minutes": (time.monotonic() - start) / 60}
    (args.out / "measured.json").write_text(json.dumps(measured))


def build(args: argparse.Namespace, classes: int) -> tuple[keras.Model, Detector]:
    """The backbone, and the detector that it is a part of."""
    side, width = args.image_size, {} if args.width is None else {"width": args.width}
    backbone = kyb.create(args.backbone, activation=args.activation, input_shape=(side, side, 3), **width)
    if args.weights:
        kyb.load_weights(backbone, args.weights)
    return backbone, Detector(build_detector(backbone, classes, activation=args.activation))


def export_float(detector: Detector, folder: Path) -> None:
    """An ONNX file, and a SavedModel whose signatures `detect` and `encoded_detect` return boxes."""
    print(kyb.export_onnx(detector, folder / "detector.onnx").path)
    detect = kyb.Detect(Decoder(detector))
    print(kyb.export_saved_model(detector, folder / "serving" / "detector", detect=detect, batch_sizes=(1, 8)).path)


def train(model: Detector, batches: Batches, epochs: int, rate: float, backup: Path, factors=None) -> None:
    """Some epochs with a falling learning rate; a run that was ended goes on after the last whole epoch."""
    if not epochs:
        return
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * len(batches))
    model.compile(StageRates(schedule, factors=factors or {}, weight_decay=1e-4, clipnorm=10.0))
    keep_on = keras.callbacks.BackupAndRestore(backup, delete_checkpoint=False)
    model.fit(batches, epochs=epochs, callbacks=[keep_on], verbose=2)


if __name__ == "__main__":
    with native_noise_hidden():
        main()
