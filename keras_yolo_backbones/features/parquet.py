"""Shards as Parquet files."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.features.job import Job
from keras_yolo_backbones.files import staged


def require_pyarrow() -> Any:
    """pyarrow, or an `ArgumentError` that says what to install."""
    try:
        import pyarrow
    except ImportError:
        raise ArgumentError("writing Parquet needs pyarrow: pip install 'keras-yolo-backbones[features]'.") from None
    return pyarrow


def write_shard(
    job: Job, shard: int, paths: list[str], levels: dict[str, np.ndarray], errors: list[tuple[str, str]]
) -> None:
    """Write a shard: its errors first, so that a features file means that the shard is complete.

    Args:
        job: says where to.
        shard: its number.
        paths: of the images, one a row.
        levels: level name -> (rows, channels) float32; a column of lists of fixed length.
        errors: path and reason of the images that could not be read.
    """
    arrow = require_pyarrow()
    if errors:
        bad, reasons = zip(*errors, strict=True)
        _write(arrow.table({"path": arrow.array(bad), "error": arrow.array(reasons)}), job.errors_file(shard))
    columns = {"path": arrow.array(paths, arrow.string())}
    for level, values in levels.items():
        flat = arrow.array(values.ravel())
        columns[level] = arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    _write(arrow.table(columns), job.features_file(shard))


def _write(table: Any, path: Any) -> None:
    from pyarrow import parquet

    with staged(path) as temporary:
        parquet.write_table(table, temporary)
