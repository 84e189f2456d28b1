"""The same job on a Ray cluster: Ray Data hands shard numbers to actors, each of which holds the model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.features.extract import Done, Extractor
from keras_yolo_backbones.features.plan import Plan


class ShardMaker:
    """An actor: opens the model once, then makes one shard a call."""

    def __init__(self, model: bytes, plan: Plan, pool: str, batch_size: int):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(model)
            opened = _load(path)
        self._extractor, self._plan = Extractor(opened, pool=pool, batch_size=batch_size), plan

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Make the shard that the row names."""
        (done,) = self._extractor.run(self._plan, [int(row["shard"])])
        return done._asdict()


def run_on_ray(
    model: keras.Model,
    plan: Plan,
    pending: list[int],
    pool: str,
    batch_size: int,
    workers: int,
    progress: Callable[[int], None],
) -> Iterator[Done]:
    """Make the pending shards on a Ray cluster; the arguments are those of `extract_features`."""
    try:
        import ray
    except ImportError:
        raise ArgumentError("engine='ray' needs Ray: pip install 'keras-yolo-backbones[scale]'.") from None
    if not pending:
        return
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    shared = Plan(plan.root.resolve(), plan.names, plan.shard_size, plan.out.resolve())
    shards = ray.data.from_items([{"shard": shard} for shard in pending], override_num_blocks=len(pending))
    arguments = {"model": _saved(model), "plan": shared, "pool": pool, "batch_size": batch_size}
    maker: Any = ShardMaker
    for row in shards.map(maker, fn_constructor_kwargs=arguments, concurrency=workers).iter_rows():
        done = Done(**row)
        progress(done.images + done.errors)
        yield done


def _saved(model: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


def _load(path: Path) -> keras.Model:
    import keras_yolo_backbones.blocks  # noqa: F401  registers the layers that are not Keras' own

    return keras.models.load_model(path)
