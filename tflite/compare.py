"""A float file against an int8 file on one photograph: numbers, and pictures of every level.

python tflite/compare.py build/v8-s-float32.tflite build/v8-s-qat.tflite --image photo.jpg --out compare.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from keras_yolo_backbones.export.manifest import read_manifest
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.images import letterbox, read_image
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.preprocessing import Preprocessing
from keras_yolo_backbones.strangers import check_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("float_file", type=Path)
    parser.add_argument("int8_file", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("compare.png"))
    args = parser.parse_args()

    for file in (args.float_file, args.int8_file):
        check_runs(file)
    models = [LiteModel(args.float_file), LiteModel(args.int8_file)]
    image = letterbox(read_image(args.image), *models[0].input_shape[:2]).image
    images = Preprocessing.from_description(read_manifest(args.float_file)["preprocessing"]).apply(image[np.newaxis])
    features, integers = (model(images) for model in models)
    figure = Figure(figsize=(9, 3 * len(features)), layout="constrained")
    axes = figure.subplots(len(features), 3, squeeze=False)
    for line, (name, feature) in zip(axes, features.items(), strict=True):
        found = agreement(feature, integers[name])
        print(f"{name}: {found.snr_db:.1f} dB, cosine {found.cosine:.4f}, largest error {found.max_error:.3g}")
        # The strength of all channels together; the error at a scale of its own.
        pictures = [np.abs(array[0]).mean(-1) for array in (feature, integers[name], feature - integers[name])]
        for axis, picture, title in zip(line, pictures, ("float", "int8", "error"), strict=True):
            axis.imshow(picture)
            axis.set_title(f"{name} {title}, up to {picture.max():.2g}", fontsize=8)
            axis.axis("off")
    figure.savefig(args.out)


if __name__ == "__main__":
    main()
