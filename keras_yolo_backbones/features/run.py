"""`extract_features`: the whole job, on one machine or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.features.extract import POOLS, Done, Extractor
from keras_yolo_backbones.features.job import make_job, settle
from keras_yolo_backbones.features.parquet import require_pyarrow
from keras_yolo_backbones.files import check_directory
from keras_yolo_backbones.graph.running import require_tensorflow
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.pixel_limit import MAX_PIXELS
from keras_yolo_backbones.provenance import weights_digest

ENGINES = ("local", "ray")


class Summary(NamedTuple):
    """What a job did.

    Attributes:
        images: rows that were written.
        errors: images that could not be read; each is in a side table with the reason.
        shards: that were written.
        skipped: shards that were there already.
    """

    images: int
    errors: int
    shards: int
    skipped: int


def extract_features(
    model: keras.Model,
    images: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    pool: str = "avg",
    shard_size: int = 4096,
    batch_size: int = 32,
    engine: str = "local",
    workers: int = 1,
    max_pixels: int = MAX_PIXELS,
    reduced_decoding: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Summary:
    """Write the pooled features of many images as Parquet shards; what is there already is not made again.

    A shard appears whole or not at all, so whatever ends the job costs at most the shard in work (one a worker). The
    shards do not depend on the number of workers. `features-….parquet` has a column `path` and one a level, lists of
    float32; `errors-….parquet` has the images that could not be read, and why. Every path is in exactly one of them.
    Each shard says what it was made from: one that is damaged, or whose images have changed in size or time, is made
    again, and one of a different model or of other options is an error.

    Args:
        model: a functional model of a fixed image size that returns feature maps.
        images: a folder, searched below, or a pattern such as `"photos/**/*.jpg"`; letterboxed to the model's size.
        out: the folder for the shards.
        pool: `"avg"` or `"max"` over the cells of each level.
        shard_size: images of a shard.
        batch_size: images that are run together.
        engine: `"local"`, or `"ray"` for Ray Data on the cluster that `ray.init` finds; `images` and `out` must then be
            on a disk that all machines share.
        workers: actors under Ray, each with a model.
        max_pixels: larger images are not decoded, and are errors.
        reduced_decoding: decode JPEGs of at least twice the model's size at a half, a quarter or an eighth of theirs.
            That is faster, and the features differ a little from those of `preprocess`.
        progress: is called with the images done, and all that are to be done.

    Raises:
        ArgumentError: no images, a value that is not allowed, or a folder that holds another job.
        ExportError: the folder cannot be written.
    """
    require_tensorflow()
    check_model(model)
    require_pyarrow()
    _check(pool, engine, batch_size=batch_size, workers=workers, max_pixels=max_pixels)
    job = make_job(Path(images), check_directory(out), shard_size)
    extractor = Extractor(
        model, pool=pool, batch_size=batch_size, max_pixels=max_pixels, reduced_decoding=reduced_decoding
    )
    conditions = {
        "model": model.name,
        "weights_sha256": weights_digest(model),
        "preprocessing": image_input(model).preprocessing.as_json(),
        "levels": extractor.channels,
        "pool": pool,
        "image_size": [extractor.height, extractor.width],
        "batch_size": batch_size,
        "max_pixels": max_pixels,
        "reduced_decoding": bool(reduced_decoding),
    }
    job = dataclasses.replace(job, conditions=conditions)
    settle(job)
    pending = job.pending()
    everything = sum(len(job.members(shard)) for shard in pending)
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        progress(done, everything)

    if engine == "ray":
        from keras_yolo_backbones.features.ray_engine import run_on_ray

        results: Iterator[Done] = run_on_ray(model, job, pending, workers, count)
    else:
        results = extractor.run(job, pending, count)
    finished = list(results)
    return Summary(
        images=sum(shard.images for shard in finished),
        errors=sum(shard.errors for shard in finished),
        shards=len(finished),
        skipped=len(job.shards) - len(pending),
    )


def _check(pool: str, engine: str, **positive: int) -> None:
    """Raise an `ArgumentError` for a value of `extract_features` that is not allowed."""
    if pool not in POOLS:
        raise one_of("pool", pool, POOLS)
    if engine not in ENGINES:
        raise one_of("engine", engine, ENGINES)
    for name, value in positive.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ArgumentError(f"{name} {value!r}: expected a positive integer.")
