"""From image files to pooled features, shard by shard: tf.data reads ahead, one compiled function runs the model."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_yolo_backbones.datasets import elements
from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.export.function import frozen_function
from keras_yolo_backbones.export.tf_serving.operators import fusable
from keras_yolo_backbones.features.job import Job
from keras_yolo_backbones.features.parquet import write_shard
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.graph.signature import image_input, named_outputs
from keras_yolo_backbones.images import decode, read_image
from keras_yolo_backbones.letterboxes import fitted, letterbox
from keras_yolo_backbones.pixel_limit import MAX_PIXELS

POOLS: dict[str, Callable[..., tf.Tensor]] = {"avg": tf.reduce_mean, "max": tf.reduce_max}


Progress = Callable[[int], None]


class Done(NamedTuple):
    """A shard that has been written.

    Attributes:
        shard: its number.
        images: rows in it.
        errors: images that could not be read.
    """

    shard: int
    images: int
    errors: int


class Extractor:
    """Runs a model over shards of images.

    Every batch holds images of one shard only, in order, and is filled up to the same size: a shard's numbers do not
    depend on which worker makes it, nor when.

    Args:
        model: a functional model with one image input of a fixed size and feature maps as outputs.
        pool: `"avg"` or `"max"`, over the cells of each level.
        batch_size: images that are run together.
        max_pixels: larger images are not decoded.
        reduced_decoding: see `extract_features`.

    Attributes:
        channels: level name -> features.
        network: (batch_size, height, width, 3) uint8 -> level name -> (batch_size, channels) float32.

    Raises:
        ArgumentError: the model leaves its image size open, or returns no feature maps.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        pool: str = "avg",
        batch_size: int = 32,
        max_pixels: int = MAX_PIXELS,
        reduced_decoding: bool = False,
    ):
        images = image_input(model)
        self.height, self.width, channels = images.sized(None)
        outputs = named_outputs(model)
        if channels != 3 or any(len(tensor.shape) != 4 for tensor in outputs.values()):
            raise ArgumentError(f"model {model.name!r}: expected RGB images in and feature maps out.")
        self.max_pixels = max_pixels
        self.batch_size, self.channels = batch_size, {name: tensor.shape[-1] for name, tensor in outputs.items()}
        shape = (batch_size, self.height, self.width, 3)
        call = frozen_function(fusable(fuse(model)), tf.TensorSpec(shape, tf.float32, name=images.name))
        reduce, prepared, self.padding = POOLS[pool], images.preprocessing.apply, images.preprocessing.padding

        @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)], autograph=False)
        def network(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            return {name: reduce(tensor, (1, 2)) for name, tensor in call(prepared(pixels)).items()}

        @tf.function(input_signature=[tf.TensorSpec((), tf.int64), tf.TensorSpec((), tf.string)], autograph=False)
        def read(index: tf.Tensor, file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            frame = (self.height, self.width)
            pixels = decode(tf.io.read_file(file), max_pixels, frame=frame if reduced_decoding else None)
            return index, fitted(pixels, *frame, self.padding)[0]

        self.network, self._read = network, read

    def run(self, job: Job, shards: Sequence[int], progress: Progress = lambda _: None) -> Iterator[Done]:
        """Make shards in turn; yields each when it is on the disk.

        Args:
            job: the images.
            shards: numbers of those to make.
            progress: is called with the number of images that were done since the last call.
        """
        digests = [job.digest(shard) for shard in shards]  # before any is read: a change from now on is noticed
        names = [name for shard in shards for name in job.members(shard)]
        frames = self.frames([str(job.root / name) for name in names])
        for shard, digest in zip(shards, digests, strict=True):
            members = job.members(shard)
            images = zip(members, itertools.islice(frames, len(members)), strict=True)
            yield self._shard(job, shard, digest, images, progress)

    def _shard(
        self, job: Job, shard: int, digest: str, frames: Iterable[tuple[str, np.ndarray | str]], progress: Progress
    ) -> Done:
        """Run and write one shard, given its images or reasons by name."""
        paths: list[str] = []
        errors: list[tuple[str, str]] = []
        batches = [{level: np.zeros((0, size), np.float32) for level, size in self.channels.items()}]
        waiting: list[np.ndarray] = []

        def flush() -> None:
            if waiting:
                batches.append(self._features(waiting))
                progress(len(waiting))
                waiting.clear()

        for name, frame in frames:
            if isinstance(frame, str):
                errors.append((name, frame))
                progress(1)
                continue
            paths.append(name)
            waiting.append(frame)
            if len(waiting) == self.batch_size:
                flush()
        flush()
        levels = {level: np.concatenate([batch[level] for batch in batches]) for level in self.channels}
        mark = {"job": job.everything(), "digest": digest}
        write_shard(job.features_file(shard), job.errors_file(shard), paths, levels, errors, mark)
        return Done(shard, len(paths), len(errors))

    def _features(self, frames: list[np.ndarray]) -> dict[str, np.ndarray]:
        batch: np.ndarray = np.zeros((self.batch_size, self.height, self.width, 3), np.uint8)
        np.stack(frames, out=batch[: len(frames)])
        return {level: value.numpy()[: len(frames)] for level, value in self.network(batch).items()}

    def frames(self, files: list[str]) -> Iterator[np.ndarray | str]:
        """The letterboxed images in order; in place of one that cannot be read, the reason."""
        expected = 0
        for index, frame in self._decoded(files):
            for missing in range(expected, index):
                yield self._second_try(files[missing])
            yield frame
            expected = index + 1
        for missing in range(expected, len(files)):
            yield self._second_try(files[missing])

    def _decoded(self, files: list[str]) -> Iterator[tuple[int, np.ndarray]]:
        """Index and pixels of every image that tf.data can decode, in order; the others are left out."""
        threads = os.cpu_count() or 1
        # Folders and pipes are not opened: reading a pipe may never end.
        names = [os.fsencode(file) if os.path.isfile(file) else b"" for file in files]
        dataset = tf.data.Dataset.from_tensor_slices(names).enumerate()
        dataset = dataset.map(self._read, num_parallel_calls=threads, deterministic=True).ignore_errors()
        return elements(dataset.prefetch(2 * self.batch_size))

    def _second_try(self, file: str) -> np.ndarray | str:
        """An image that tf.data gave no pixels for, read in Python: its pixels after all, or the reason."""
        if not os.path.isfile(file):
            return f"{file} {'is no file' if os.path.exists(file) else 'does not exist, or links to nothing'}"
        try:
            return letterbox(
                read_image(Path(file), max_pixels=self.max_pixels), self.height, self.width, padding=self.padding
            ).image
        except (ValueError, OSError, tf.errors.OpError) as error:
            return str(error)


def bare_loop(extractor: Extractor, batches: int) -> None:
    """The model alone on one batch again and again: what the throughput of a job is compared with."""
    pixels: Any = np.zeros((extractor.batch_size, extractor.height, extractor.width, 3), np.uint8)
    for _ in range(batches):
        for value in extractor.network(pixels).values():
            value.numpy()


def bare_reading(extractor: Extractor, files: list[str]) -> None:
    """The files alone, read and decoded by all cores: what a job takes beside the model at the least."""
    for _ in extractor.frames(files):
        pass
