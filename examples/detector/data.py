"""Images and objects from a folder in YOLO's text format.

folder/images/a.jpg    folder/labels/a.txt with lines "label x y width height", centre and size as shares of the image
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

import keras_yolo_backbones as kyb

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class Folder(keras.utils.PyDataset):
    """Batches of letterboxed images, as the model takes them, and their objects for `loss.Detector`."""

    def __init__(self, folder: Path, model: keras.Model, *, batch: int = 16, most: int = 100, shuffle: bool = True):
        super().__init__()
        self.files = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in SUFFIXES)
        if not self.files:
            raise SystemExit(f"{folder}/images holds no {', '.join(SUFFIXES)} files.")
        self.model, self.batch, self.most, self.shuffle = model, batch, most, shuffle
        self.random = np.random.default_rng(0)
        self.order = np.arange(len(self.files))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self.files) // self.batch)

    def on_epoch_end(self) -> None:
        if self.shuffle:
            self.random.shuffle(self.order)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        files = [self.files[i] for i in self.order[index * self.batch : (index + 1) * self.batch]]
        prepared = kyb.preprocess(files, self.model)
        objects = np.full((len(files), self.most, 5), -1, np.float32)
        for row, file, frame in zip(objects, files, prepared.frames, strict=True):
            found = framed(read_objects(file, frame.size), frame)[: self.most]
            row[: len(found)] = found
        return prepared.images, objects


def read_objects(image: Path, size: tuple[int, int]) -> np.ndarray:
    """(objects, 5): label, left, top, right, bottom in pixels of the image, whose (height, width) is `size`."""
    file = image.parent.parent / "labels" / f"{image.stem}.txt"
    lines = file.read_text().split("\n") if file.exists() else []
    rows = np.array([line.split() for line in lines if line.strip()], np.float32).reshape(-1, 5)
    height, width = size
    centre, half = rows[:, 1:3] * (width, height), rows[:, 3:] * (width, height) / 2
    return np.concatenate([rows[:, :1], centre - half, centre + half], -1)


def framed(objects: np.ndarray, frame) -> np.ndarray:
    """Objects of an image, in pixels of the frame that it was fitted into."""
    place = np.array([frame.left, frame.top, frame.left, frame.top])
    return np.concatenate([objects[:, :1], objects[:, 1:] * frame.scale + place], -1).astype(np.float32)
