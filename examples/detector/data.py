"""Batches of images and their objects, for `fit`."""

from __future__ import annotations

import keras
import numpy as np
from labels import Labels

import keras_yolo_backbones as kyb


class Batches(keras.utils.PyDataset):
    """Batches of letterboxed images, as the model takes them, and their objects for `loss.Detector`."""

    def __init__(self, labels: Labels, model: keras.Model, *, batch: int = 16, most: int = 100, shuffle: bool = True):
        super().__init__()
        self.labels, self.model, self.batch, self.most, self.shuffle = labels, model, batch, most, shuffle
        self.random = np.random.default_rng(0)
        self.order = np.arange(len(self.labels.files))
        self.on_epoch_end()

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch)

    def on_epoch_end(self) -> None:
        if self.shuffle:
            self.random.shuffle(self.order)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        prepared = kyb.preprocess([self.labels.files[i] for i in chosen], self.model)
        objects = np.full((len(chosen), self.most, 5), -1, np.float32)
        for row, i, frame in zip(objects, chosen, prepared.frames, strict=True):
            found = framed(self.labels.objects[i], frame)[: self.most]
            row[: len(found)] = found
        return prepared.images, objects


def framed(objects: np.ndarray, frame) -> np.ndarray:
    """Objects of an image, shares of it, in pixels of the frame that it was fitted into."""
    height, width = frame.size
    scale = np.array([width, height] * 2) * frame.scale
    place = np.array([frame.left, frame.top] * 2)
    return np.concatenate([objects[:, :1], objects[:, 1:] * scale + place], -1).astype(np.float32)
