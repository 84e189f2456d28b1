"""keras-hub's RetinaNet on one of our backbones, exported to int8 TFLite.

pip install keras-hub
python examples/keras_hub_retinanet.py --backbone v8-n --out build/retinanet.tflite
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras_hub
from photographs import photographs

import keras_yolo_backbones as kyb


def build(name: str, image_size: int):
    """A feature pyramid P3 to P7 on a backbone; keras-hub's `RetinaNetObjectDetector(backbone=…)` puts heads on it."""
    backbone = kyb.create(name, activation="relu6", input_shape=(image_size, image_size, 3))
    return keras_hub.models.RetinaNetBackbone(
        kyb.to_keras_hub(backbone), min_level=3, max_level=7, use_p5=False, image_shape=(image_size, image_size, 3)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="v8-n", help="a name that `kyb list` prints")
    parser.add_argument("--image-size", type=int, default=256, help="a multiple of 128: P7 has that stride")
    parser.add_argument("--out", type=Path, default=Path("build/retinanet.tflite"))
    args = parser.parse_args()
    model = build(args.backbone, args.image_size)
    images = kyb.preprocess([*photographs()], model).images
    args.out.parent.mkdir(parents=True, exist_ok=True)
    artifact = kyb.export_tflite(model, args.out, precision="int8", calibration=[images] * 2)
    for level, output in artifact.manifest["outputs"].items():
        print(f"{level}: {output['shape']}, {artifact.manifest['agreement'][level]['snr_db']:.1f} dB against float")


if __name__ == "__main__":
    main()
