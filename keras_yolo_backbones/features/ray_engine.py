"""The same job on a Ray cluster: Ray Data hands shard numbers to actors, each of which holds the model."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.features.extract import Done, Extractor
from keras_yolo_backbones.features.job import Job
from keras_yolo_backbones.saving import load_model
from keras_yolo_backbones.work_folders import scratch


class ShardMaker:
    """An actor: opens the model once, then makes one shard a call."""

    def __init__(self, model: bytes, job: Job):
        with scratch() as folder:
            path = folder / "model.keras"
            path.write_bytes(model)
            opened = load_model(path, compile=False)
        options = {name: job.conditions[name] for name in ("pool", "batch_size", "max_pixels", "reduced_decoding")}
        self._extractor, self._job = Extractor(opened, **options), job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the shard that the row names."""
        (done,) = self._extractor.run(self._job, [int(row["shard"])])
        return done._asdict()


def run_on_ray(
    model: keras.Model,
    job: Job,
    pending: list[int],
    workers: int,
    progress: Callable[[int], None],
) -> Iterator[Done]:
    """Make the pending shards on a Ray cluster; the arguments are those of `extract_features`."""
    try:
        import ray.data
    except ImportError:
        raise ArgumentError(f"engine='ray' needs Ray: {how_to_install('scale')}.") from None
    if not pending:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
    shared = dataclasses.replace(job, root=job.root.resolve(), out=job.out.resolve())
    shards = ray.data.from_items([{"shard": shard} for shard in pending], override_num_blocks=len(pending))
    shards.context.enable_progress_bars = False  # the caller's tells the images
    arguments = {"model": _saved(model), "job": shared}
    maker: Any = ShardMaker
    actors = ray.data.ActorPoolStrategy(size=min(workers, len(pending)))
    for row in shards.map(maker, fn_constructor_kwargs=arguments, compute=actors).iter_rows():
        done = Done(**row)
        progress(done.images + done.errors)
        yield done


def _saved(model: keras.Model) -> bytes:
    with scratch() as folder:
        path = folder / "model.keras"
        model.save(path)
        return path.read_bytes()
