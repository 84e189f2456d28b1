"""Write the digits task (handwritten digits on photographs, both scikit-learn's) in YOLO's text format.

python examples/detector/digits.py build/digits --train 4000 --test 500
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from PIL import Image

_FILE = Path(__file__).parents[1] / "digits_detector" / "data.py"
_SPEC = importlib.util.spec_from_file_location("digits_data", _FILE)
digits = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(digits)


def write(folder: Path, count: int, *, seed: int, training: bool) -> None:
    """`count` images with one to four digits each."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = digits.make_digits(count, seed=seed, training=training)
    for index, (image, boxes, labels) in enumerate(zip(made.images, made.boxes, made.labels, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"{index:05}.png")
        lines = [
            f"{label} {(left + right) / 2 / digits.SIDE} {(top + bottom) / 2 / digits.SIDE} "
            f"{(right - left) / digits.SIDE} {(bottom - top) / digits.SIDE}\n"
            for label, (left, top, right, bottom) in zip(labels, boxes, strict=True)
        ]
        (folder / "labels" / f"{index:05}.txt").write_text("".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--test", type=int, default=500)
    args = parser.parse_args()
    write(args.folder / "train", args.train, seed=0, training=True)
    write(args.folder / "test", args.test, seed=2000, training=False)
