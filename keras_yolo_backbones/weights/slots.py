"""Slots: the variables of a model and the tensors that fill them, all of them, checked, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from keras_yolo_backbones.errors import CheckpointError, shown


def _as_it_is(tensor: np.ndarray) -> np.ndarray:
    return tensor


@dataclasses.dataclass(frozen=True)
class Slot:
    """A variable of a model and where its value comes from.

    The last three attributes are about original checkpoints; in a file of Keras every variable is a tensor as it is.

    Attributes:
        variable: the Keras variable.
        path: its layer and name, `"stage3.cv1.at0.conv.kernel"`.
        key: the tensor's name in the file: `"model.4.cv1.conv.weight"` or, in a file of Keras, `"stem.conv/0"`.
        take: the tensor called `key` -> the variable's value. It only picks and reorders elements.
        torch_shape: the variable's shape in torch's layout.
        whole: the variable is the original tensor, neither a slice of it nor rearranged.
        reshaped: shape of all that is taken of the original tensor, put together -> the original's.
    """

    variable: keras.Variable
    path: str
    key: str
    take: Callable[[np.ndarray], np.ndarray] = _as_it_is
    torch_shape: tuple[int, ...] = ()
    whole: bool = True
    reshaped: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple


def mismatches(slots: Sequence[Slot], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The slots whose tensor does not have their shape, as text. No value is read."""
    found = []
    for slot in slots:
        if slot.key not in shapes:
            continue
        shape = shapes[slot.key]
        try:
            # An array of this shape that has no memory of its own.
            fits = slot.take(np.broadcast_to(np.uint8(0), shape)).shape == tuple(slot.variable.shape)
        except (ValueError, IndexError):
            fits = False
        if not fits:
            found.append(f"{slot.key} {tuple(shape)} (for {slot.path} {tuple(slot.variable.shape)})")
    return found


def fill(slots: Sequence[Slot], tensors: Mapping[str, np.ndarray], *, source: object) -> None:
    """Assign to every slot its tensor, after all of them were checked. On an error the model is unchanged.

    Tensors are read one after another, and kept in the file's own element type until all are checked.

    Args:
        slots: without `mismatches`; each key is in `tensors`.
        tensors: name -> array.
        source: the file that the tensors are from, for error messages.

    Raises:
        CheckpointError: integers, values that are not finite, a negative variance.
    """
    values = []
    key, tensor = "", np.empty(0)
    slots = sorted(slots, key=lambda slot: slot.key)  # a tensor of which several slots take a slice is read once
    for slot in slots:
        if slot.key != key:
            key, tensor = slot.key, tensors[slot.key]
        values.append(_checked(slot, slot.take(tensor), source))
    for slot, value in zip(slots, values, strict=True):
        slot.variable.assign(value)


def _checked(slot: Slot, value: np.ndarray, source: object) -> np.ndarray:
    """The value in an array of its own, after the checks on what the variable will hold."""
    if value.dtype.kind != "f" and slot.variable.dtype.startswith(("float", "bfloat")):
        raise CheckpointError(source, f"{slot.key} holds {value.dtype}, where weights are floating point.")
    with np.errstate(over="ignore"):
        held = value.astype(np.dtype(slot.variable.dtype))
    if not np.isfinite(held).all():
        raise CheckpointError(source, f"{slot.key} holds values that are not finite (NaN or infinite).")
    if slot.variable.name == "moving_variance" and (held < 0).any():
        raise CheckpointError(source, f"{slot.key} holds a negative variance.")
    return np.ascontiguousarray(value) if value.dtype.itemsize < held.dtype.itemsize else held


def some(items: Sequence[str], most: int = 8) -> str:
    """The first few of a list, and how many more there are. Names from a file are cut and escaped."""
    rest = f", … and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(shown(item, 160) for item in items[:most]) + rest
