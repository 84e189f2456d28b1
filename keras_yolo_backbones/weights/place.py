"""Putting tensors into variables: all of them, checked, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import keras
import numpy as np

from keras_yolo_backbones.errors import CheckpointError


class Target(Protocol):
    """A variable, the name of the tensor it takes its value from, and how."""

    @property
    def variable(self) -> keras.Variable: ...
    @property
    def path(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def take(self) -> Callable[[np.ndarray], np.ndarray]: ...


def mismatches(targets: Sequence[Target], tensors: Mapping[str, np.ndarray]) -> list[str]:
    """The targets that a tensor of another shape is meant for, as text. No value is read if the tensors are lazy."""
    shapes = getattr(tensors, "shapes", None) or {key: tensors[key].shape for key in tensors}
    found = []
    for target in targets:
        if target.key not in shapes:
            continue
        shape = shapes[target.key]
        try:
            # No memory behind it: only the shape is looked at.
            fits = target.take(np.broadcast_to(np.uint8(0), shape)).shape == tuple(target.variable.shape)
        except (ValueError, IndexError):
            fits = False
        if not fits:
            found.append(f"{target.key} {tuple(shape)} (for {target.path} {tuple(target.variable.shape)})")
    return found


def place(targets: Sequence[Target], tensors: Mapping[str, np.ndarray], *, source: object) -> None:
    """Give every target its tensor. Nothing is changed unless all of them fit.

    Tensors are read one after another, and kept in the file's own element type until all are checked.

    Args:
        targets: see `Target`; each key is in `tensors`.
        tensors: name -> array.
        source: what the tensors came from, for error messages.

    Raises:
        CheckpointError: another shape than the variable's, integers, values that are not finite, a negative variance.
    """
    wrong = mismatches(targets, tensors)
    if wrong:
        raise CheckpointError(source, f"{len(wrong)} tensors have another shape than the model: {some(wrong)}.")
    values = []
    key, tensor = "", np.empty(0)
    targets = sorted(targets, key=lambda target: target.key)  # a tensor that several take a slice of is read once
    for target in targets:
        if target.key != key:
            key, tensor = target.key, tensors[target.key]
        value = target.take(tensor)
        values.append(_checked(target, value, source))
    for target, value in zip(targets, values, strict=True):
        target.variable.assign(value)


def _checked(target: Target, value: np.ndarray, source: object) -> np.ndarray:
    """The value in an array of its own, after the checks on what the variable will hold."""
    if value.dtype.kind != "f" and target.variable.dtype.startswith(("float", "bfloat")):
        raise CheckpointError(source, f"{target.key} holds {value.dtype}, where weights are floating point.")
    with np.errstate(over="ignore"):
        held = value.astype(np.dtype(target.variable.dtype))
    if not np.isfinite(held).all():
        raise CheckpointError(source, f"{target.key} holds values that are not finite (NaN or infinite).")
    if target.variable.name == "moving_variance" and (held < 0).any():
        raise CheckpointError(source, f"{target.key} holds a negative variance.")
    return np.ascontiguousarray(value) if value.dtype.itemsize < held.dtype.itemsize else held


def some(items: Sequence[str], most: int = 8) -> str:
    """The first few of a list, and how many more there are."""
    rest = f", … and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + rest
