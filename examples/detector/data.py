"""Batches of images and their objects, for `fit`."""

from __future__ import annotations

import keras
import numpy as np
from labels import Labels

import keras_yolo_backbones as kyb


class Batches(keras.utils.PyDataset):
    """Batches of letterboxed images, as the model takes them, and their objects for `loss.Detector`.

    `most` objects of an image are kept; by default as many as the fullest image has, since each costs time. Prepared
    images stay in memory if all of them fit into `memory` bytes.
    """

    def __init__(
        self,
        labels: Labels,
        model: keras.Model,
        *,
        batch: int = 16,
        most: int = 0,
        shuffle: bool = True,
        memory: int = 1 << 30,
    ):
        super().__init__()
        self.labels, self.model, self.batch, self.shuffle = labels, model, batch, shuffle
        self.most = most or max(1, *map(len, labels.objects))
        self.keep = 4 * np.prod(model.input.shape[1:]) * len(labels.files) <= memory
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
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
        images, objects = zip(*map(self.one, map(int, chosen)), strict=True)
        return np.stack(images), np.stack(objects)

    def check(self) -> None:
        """Read every image once, before hours of training: a `ValueError` names a file that is no image."""
        for index in range(len(self.labels.files)):
            self.one(index)

    def one(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One image and its objects, (most, 5)."""
        if index in self.kept:
            return self.kept[index]
        prepared = kyb.preprocess(self.labels.files[index], self.model)
        objects = np.full((self.most, 5), -1, np.float32)
        found = framed(self.labels.objects[index], prepared.frames[0])[: self.most]
        objects[: len(found)] = found
        if self.keep:
            self.kept[index] = prepared.images[0], objects
        return prepared.images[0], objects


def framed(objects: np.ndarray, frame) -> np.ndarray:
    """Objects of an image, shares of it, in pixels of the frame that it was fitted into."""
    height, width = frame.size
    scale = np.array([width, height] * 2) * frame.scale
    place = np.array([frame.left, frame.top] * 2)
    return np.concatenate([objects[:, :1], objects[:, 1:] * scale + place], -1).astype(np.float32)
