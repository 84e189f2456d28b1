"""Shards as Parquet files. Each carries a mark: what it was made from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.files import staged

_MARK = b"keras_yolo_backbones"
"""The key of a file's metadata."""


def require_pyarrow() -> Any:
    """pyarrow, or an `ArgumentError` that says what to install."""
    try:
        import pyarrow
    except ImportError:
        raise ArgumentError(f"writing Parquet needs pyarrow: {how_to_install('features')}.") from None
    return pyarrow


def write_shard(
    features_file: Path,
    errors_file: Path,
    paths: list[str],
    levels: dict[str, np.ndarray],
    errors: list[tuple[str, str]],
    mark: dict[str, Any],
) -> None:
    """Write a shard: its errors first, so that a features file means that the shard is complete.

    Args:
        features_file: where to. An older file is removed first, so no image is in both tables.
        errors_file: where the errors go; removed if there are none.
        paths: of the images, one a row.
        levels: level name -> (rows, channels) float32; a column of lists of fixed length.
        errors: path and reason of the images that could not be read.
        mark: what the shard is made from, as JSON values.
    """
    arrow = require_pyarrow()
    mark = {**mark, "errors": len(errors)}
    features_file.unlink(missing_ok=True)
    errors_file.unlink(missing_ok=True)
    if errors:
        bad, reasons = ([_text(text) for text in column] for column in zip(*errors, strict=True))
        _write(arrow.table({"path": bad, "error": reasons}), errors_file, {**mark, "table": "errors"})
    columns = {"path": arrow.array([_text(path) for path in paths], arrow.string())}
    for level, values in levels.items():
        flat = arrow.array(values.ravel())
        columns[level] = arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    _write(arrow.table(columns), features_file, mark)


def read_mark(path: Path) -> dict[str, Any] | None:
    """What a shard says that it is made from; `None` if it is missing, truncated, or no shard of this package."""
    arrow = require_pyarrow()
    from pyarrow import parquet

    try:
        found = json.loads((parquet.read_metadata(path).metadata or {})[_MARK])
    except (OSError, KeyError, ValueError, RecursionError, arrow.ArrowException):
        return None
    return found if isinstance(found, dict) else None


def _write(table: Any, path: Path, mark: dict[str, Any]) -> None:
    from pyarrow import parquet

    with staged(path) as temporary:
        parquet.write_table(table.replace_schema_metadata({_MARK: json.dumps(mark, sort_keys=True)}), temporary)


def _text(text: str) -> str:
    """File names need not be UTF-8; bytes that are not are written as `\\xff`."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")
