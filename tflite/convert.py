"""From a checkpoint to a phone's file: float32, post-training int8 and tuned int8, side by side.

python tflite/convert.py v8-s --activation relu6 --weights my-v8s.weights.h5 --images photos/ --out build/
"""

from __future__ import annotations

import argparse
from pathlib import Path

import keras_yolo_backbones as kyb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--activation")
    parser.add_argument("--weights")
    parser.add_argument("--images", required=True, help="a folder of photographs like those in use")
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("build"))
    args = parser.parse_args()

    model = kyb.create(args.name, activation=args.activation, input_shape=(args.side, args.side, 3))
    if args.weights:
        kyb.load_weights(model, args.weights)
    kyb.export_tflite(model, args.out / f"{args.name}-float32.tflite")
    kyb.export_tflite(model, args.out / f"{args.name}-ptq.tflite", precision="int8", calibration=args.images)
    aware = kyb.quantize_aware(model, args.images)
    if args.epochs:
        kyb.quantization.distill(model, aware, args.images, epochs=args.epochs, checkpoints=args.out / "checkpoints")
    artifact = kyb.export_tflite(aware, args.out / f"{args.name}-qat.tflite")
    print(kyb.quantization.report(model, artifact.path, args.images))


if __name__ == "__main__":
    main()
