"""What a folder says about its images: in YOLO's text format, or in COCO's.

YOLO:  folder/images/a.jpg    folder/labels/a.txt with lines "label x y width height": centre and size in shares of it
COCO:  folder/images/a.jpg    folder/NAME.json or folder/annotations/NAME.json, with images, categories and annotations
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

OUTSIDE = 0.01
"""How far outside the image a box may be, in shares of it."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class Labels(NamedTuple):
    """Images and their objects.

    Attributes:
        files: the images.
        objects: for each image (objects, 5): label, left, top, right, bottom; the last four are shares of the image.
        names: of the classes; empty where the folder does not say them.
    """

    files: list[Path]
    objects: list[np.ndarray]
    names: tuple[str, ...]

    @property
    def classes(self) -> int:
        """How many classes there are: those that have names, or as many as the highest label says."""
        return len(self.names) or 1 + max((int(found[:, 0].max()) for found in self.objects if len(found)), default=0)


def read_task(folder: Path) -> tuple[Labels, Labels]:
    """What `folder/train` and `folder/test` hold; `SystemExit` if their classes are not the same ones."""
    train, test = read_labels(folder / "train"), read_labels(folder / "test")
    if train.names != test.names:
        raise SystemExit(
            f"{folder}: train/ has the classes {list(train.names)}, test/ {list(test.names)}; expected the same."
        )
    return train, test


def read_labels(folder: Path) -> Labels:
    """Read a folder; `SystemExit` with one line about what is wrong with it."""
    documents = sorted([*folder.glob("*.json"), *folder.glob("annotations/*.json")])
    if not (folder / "images").is_dir():
        raise SystemExit(
            f"{folder}: no folder images/ in it; expected images/ with labels/ (YOLO) or a .json file (COCO)."
        )
    if len(documents) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in documents)
        raise SystemExit(
            f"{folder}: {len(documents)} .json files, {names}; keep the one with the annotations of images/."
        )
    labels = _coco(folder, documents[0]) if documents else _yolo(folder)
    if not labels.files:
        raise SystemExit(
            f"{documents[0] if documents else folder / 'images'}: no images; expected {', '.join(SUFFIXES)}."
        )
    return labels


def _yolo(folder: Path) -> Labels:
    """An image without a file in labels/ shows no object."""
    if not (folder / "labels").is_dir():
        raise SystemExit(f"{folder}: neither labels/ (YOLO) nor a .json file (COCO) in it.")
    files = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in SUFFIXES)
    return Labels(files, [_lines(folder / "labels" / f"{file.stem}.txt") for file in files], ())


def _lines(file: Path) -> np.ndarray:
    """Objects of one file in YOLO's format."""
    found = []
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}: {line[:60]!r}"
        try:
            label, x, y, width, height = map(float, line.split())
            good = label >= 0 and label == int(label)
        except (ValueError, OverflowError):
            good = False
        if not good:
            raise SystemExit(f"{where}; expected 'label x y width height', the last four from 0 to 1.")
        found += _object(int(label), (x - width / 2, y - height / 2, width, height), where)
    return np.array(found, np.float32).reshape(-1, 5)


def _object(label: int, box: tuple[float, ...], where: str) -> list[tuple[float, ...]]:
    """One object, or none where the box has no area; `box` is left, top, width, height in shares of the image.

    A box may be outside by a hundredth of the image, as rounding makes it, and is cut there.
    """
    left, top, width, height = box
    corners = (left, top, left + width, top + height)
    if not (width >= 0 and height >= 0 and all(-OUTSIDE <= share <= 1 + OUTSIDE for share in corners)):
        shown = ", ".join(f"{share:.4g}" for share in corners)
        raise SystemExit(f"{where}; expected a box inside the image; left, top, right, bottom are {shown} of it.")
    if width == 0 or height == 0:
        return []
    return [(label, *(min(max(share, 0.0), 1.0) for share in corners))]


def _coco(folder: Path, document: Path) -> Labels:
    """Categories become labels in the order of their ids. Crowds, and boxes without an area, are left out."""
    try:
        content = json.loads(document.read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda category: category["id"])
        labels = {category["id"]: label for label, category in enumerate(categories)}
        images = {image["id"]: image for image in content["images"]}
        found = defaultdict(list)
        for index, annotation in enumerate(content["annotations"]):
            image, label = images[annotation["image_id"]], labels[annotation["category_id"]]
            left, top, width, height = map(float, annotation["bbox"])
            if not annotation.get("iscrowd"):
                wide, high = float(image["width"]), float(image["height"])
                where = f"{document}, annotations[{index}] of {image['file_name']}: bbox {annotation['bbox']}"
                found[image["id"]] += _object(label, (left / wide, top / high, width / wide, height / high), where)
        files = [folder / "images" / image["file_name"] for image in images.values()]
        names = tuple(str(category["name"]) for category in categories)
    except (ValueError, TypeError, AttributeError, KeyError, ZeroDivisionError) as error:
        what = f"no {error} in it" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise SystemExit(f"{document}: not COCO's format of objects: {what}.") from None
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise SystemExit(f"{document}: {len(missing)} of its {len(files)} images are not there, such as {missing[0]}.")
    return Labels(files, [np.array(found[key], np.float32).reshape(-1, 5) for key in images], names)
