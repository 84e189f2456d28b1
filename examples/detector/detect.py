"""Find objects in a photograph with an original YOLOv8 checkpoint; prints boxes and draws them.

python examples/detector/detect.py yolov8n.pt photo.jpg --out found.png
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from boxes import Decoder, Detection, best
from original import from_original

import keras_yolo_backbones as kyb


def detect(model: keras.Model, photograph, *, least: float = 0.25) -> list[Detection]:
    """Objects in one photograph, a file or an array; boxes in its own pixels."""
    prepared = kyb.preprocess(photograph, model)
    boxes, scores = Decoder(model)(model.predict_on_batch(prepared.images))
    corners = kyb.unletterbox(keras.ops.convert_to_numpy(boxes)[0], prepared.frames[0])
    return best(corners, keras.ops.convert_to_numpy(scores)[0], least=least)


def draw(photograph: Path, found: list[Detection], names: tuple[str, ...], target: Path) -> None:
    """The photograph with a frame and a name for each object."""
    from PIL import Image, ImageDraw, ImageOps

    picture = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    pen, line = ImageDraw.Draw(picture), max(2, picture.width // 300)
    for label, score, box in reversed(found):
        colour = f"hsl({label * 67 % 360}, 90%, 50%)"
        pen.rectangle(box, outline=colour, width=line)
        text = f"{names[label]} {score:.2f}"
        place = pen.textbbox(box[:2], text, font_size=8 * line)
        pen.rectangle(place, fill=colour)
        pen.text(box[:2], text, fill="black", font_size=8 * line)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--out", type=Path, default=Path("found.png"), help="the picture with boxes")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--least", type=float, default=0.25, help="probability from which something is an object")
    args = parser.parse_args()
    try:
        model, names = from_original(args.checkpoint, image_size=args.image_size)
        found = detect(model, args.photograph, least=args.least)
        draw(args.photograph, found, names, args.out)
    except (kyb.BackboneError, ValueError, OSError) as error:  # ValueError: an unreadable photograph, a strange suffix
        raise SystemExit(str(error)) from None
    for label, score, (left, top, right, bottom) in found:
        print(f"{names[label]:20} {score:.2f}  {left:7.1f} {top:7.1f} {right:7.1f} {bottom:7.1f}")
    print(f"{len(found)} objects, drawn in {args.out}")


if __name__ == "__main__":
    main()
