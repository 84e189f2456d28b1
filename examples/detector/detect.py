"""Find objects in a photograph with an original YOLOv8 checkpoint; prints boxes and draws them.

python examples/detector/detect.py yolov8n.pt photo.jpg --out found.png
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    import keras
    from boxes import Decoder, Detection, best
    from original import from_original

    import keras_yolo_backbones as kyb

COLOURS = ("#ffd21f", "#4cc9ff", "#7ae04b", "#ff8c42", "#e58cff", "#ff6f7d", "#3fe0c5", "#c2c8d0")
"""Of the classes, in turn: light enough for black letters."""


def detect(model: keras.Model, photograph, *, least: float = 0.25) -> list[Detection]:
    """Objects in one photograph, a file or an array; boxes in its own pixels."""
    prepared = kyb.preprocess(photograph, model)
    boxes, scores = Decoder(model)(model.predict_on_batch(prepared.images))
    corners = kyb.unletterbox(keras.ops.convert_to_numpy(boxes)[0], prepared.frames[0])
    return best(corners, keras.ops.convert_to_numpy(scores)[0], least=least)


def draw(photograph: Path, found: list[Detection], names: tuple[str, ...], target: Path) -> None:
    """The photograph with a frame and a name for each object; names are over all frames, those of the surest on top."""
    from PIL import Image, ImageDraw, ImageOps

    picture = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    pen, line = ImageDraw.Draw(picture), max(2, min(picture.size) // 240)
    size = 6 * line
    for label, _, box in reversed(found):
        pen.rectangle(box, outline=COLOURS[label % len(COLOURS)], width=line)
    for label, score, (left, top, _, _) in reversed(found):
        text = f"{names[label]} {score:.2f}"
        width = pen.textlength(text, font_size=size) + 2 * line
        left = max(0, min(left, picture.width - width))
        top = top - size - line if top > size + line else max(top, 0)  # above the frame, where there is room
        pen.rectangle((left, top, left + width, top + size + line), fill=COLOURS[label % len(COLOURS)])
        pen.text((left + line, top + size + line / 2), text, fill="black", font_size=size, anchor="ld")
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
    if found:
        print(f"{'class':20} score    left     top   right  bottom (pixels)")
    for label, score, (left, top, right, bottom) in found:
        print(f"{names[label]:20} {score:.3f} {left:7.1f} {top:7.1f} {right:7.1f} {bottom:7.1f}")
    print(f"objects with a score of {args.least:g} or more: {len(found)}, drawn in {args.out}")


if __name__ == "__main__":
    with native_noise_hidden():
        main()
