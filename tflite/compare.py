"""A float file against an int8 file on one photograph: numbers, and pictures of every level.

python tflite/compare.py build/v8-s-float32.tflite build/v8-s-qat.tflite --image photo.jpg --out compare.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    from keras_yolo_backbones.errors import BackboneError
    from keras_yolo_backbones.export.manifest import read_manifest
    from keras_yolo_backbones.graph.agreement import agreement
    from keras_yolo_backbones.images import read_image
    from keras_yolo_backbones.letterboxes import Letterboxed, letterbox
    from keras_yolo_backbones.litert import LiteModel
    from keras_yolo_backbones.preprocessing import Preprocessing
    from keras_yolo_backbones.quantization.frontier import new_figure
    from keras_yolo_backbones.strangers import check_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("float_file", type=Path)
    parser.add_argument("int8_file", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("compare.png"))
    args = parser.parse_args()

    try:
        compare(args.float_file, args.int8_file, args.image, args.out)
    except (BackboneError, OSError, ValueError) as error:  # ValueError: an unreadable photograph
        raise SystemExit(str(error)) from None


def compare(float_file: Path, int8_file: Path, image: Path, out: Path) -> None:
    """Print a line a level, and draw both files' levels beside each other."""
    for file in (float_file, int8_file):
        check_runs(file)
    models = [LiteModel(float_file), LiteModel(int8_file)]
    height, width = models[0].input_shape[:2]
    frame = letterbox(read_image(image), height, width)
    preprocessing = Preprocessing.from_description(read_manifest(float_file)["preprocessing"])
    features, integers = (model(preprocessing.apply(frame.image[np.newaxis])) for model in models)
    if shapes(features) != shapes(integers):
        raise ValueError(
            f"{float_file} has {shapes(features)}, {int8_file} {shapes(integers)}; expected two files of one network."
        )
    figure = new_figure(12, 2.6 * len(features))
    axes = figure.subplots(len(features), 4, squeeze=False)
    for line, (name, feature) in zip(axes, features.items(), strict=True):
        found = agreement(feature, integers[name])
        print(f"{name}: {found.snr_db:.1f} dB, cosine {found.cosine:.4f}, largest error {found.max_error:.3g}")
        draw(line, f"{name}: {found.snr_db:.1f} dB", frame, feature[0], integers[name][0])
    figure.suptitle("mean size of all channels in each cell; one scale of colours in each row")
    figure.savefig(out)


def shapes(levels: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Level -> height, width and channels."""
    return {name: array.shape[1:] for name, array in levels.items()}


def draw(line: np.ndarray, title: str, frame: Letterboxed, feature: np.ndarray, integers: np.ndarray) -> None:
    """The photograph, both files' features, and their difference on the scale of the features; without the bars."""
    pictures = [np.abs(array).mean(-1) for array in (feature, integers, feature - integers)]
    largest = pictures[0].max()
    line[0].imshow(inside(frame.image, frame))
    line[0].set_title(title, fontsize=9)
    for axis, picture, what in zip(line[1:], pictures, ("float", "int8", "error"), strict=True):
        axis.imshow(inside(picture, frame), vmin=0, vmax=largest)
        axis.set_title(f"{what}, up to {picture.max():.2g}", fontsize=9)
    for axis in line:
        axis.set_axis_off()


def inside(picture: np.ndarray, frame: Letterboxed) -> np.ndarray:
    """A picture of the whole frame, or a map of it, without the bars beside the photograph."""
    stride = frame.image.shape[0] / picture.shape[0]
    top, left = round(frame.top / stride), round(frame.left / stride)
    return picture[top : picture.shape[0] - top, left : picture.shape[1] - left]


if __name__ == "__main__":
    with native_noise_hidden():
        main()
