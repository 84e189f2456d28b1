"""The arguments of the builders, checked: one clear line for a value that is not allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import keras

from keras_yolo_backbones.errors import ArgumentError, one_of
from keras_yolo_backbones.families.frame.release import Release, Spec

BACKENDS = ("tensorflow", "jax")
"""Keras' backends that the networks build and predict under."""


def check_backend() -> None:
    """Under torch, Keras gives variables to a module that allows no dot in their names, and layers here have dots."""
    backend = keras.backend.backend()
    if backend not in BACKENDS:
        raise ArgumentError(
            f"KERAS_BACKEND={backend}: the networks build under {' and '.join(BACKENDS)}; set the variable to one of "
            "them before Keras is imported. An ONNX file of a network runs beside torch."
        )


def check_levels(
    levels: Sequence[str] | None, spec: Spec, published: Release, *, family: str, shift: int = 0
) -> tuple[str, ...]:
    """The levels to return, in their order; `None` is P3 and everything above.

    Args:
        levels: what the user asked for.
        spec: the network's row of the size table.
        published: its release.
        family: its name, for messages.
        shift: 1 if the network's own P3 is called P2, and so on.
    """
    if levels is None:
        return _levels_up_to(spec.top - shift, lowest=3 - shift)
    levels = (levels,) if isinstance(levels, str) else tuple(levels)
    if not levels:
        raise ArgumentError('levels is empty; name at least one, such as levels=("P3", "P4", "P5").')
    allowed = _levels_up_to(spec.top - shift, lowest=2 - shift)
    for level in levels:
        if level not in allowed:
            having = [size for size, other in published.sizes.items() if level in _levels_up_to(other.top - shift)]
            hint = f"{family} has {level} in the sizes {', '.join(having)}." if having else ""
            raise one_of(f"level of this {family}", level, allowed, hint=hint)
        if levels.count(level) > 1:
            raise ArgumentError(f"levels names {level} {levels.count(level)} times: {levels!r}; name it once.")
    return levels


def check_spp(spp: bool | str, size: str, published: Release, *, family: str) -> None:
    """`spp` is a truth value, or `"linear"` for a size that has a context block of this kind."""
    if isinstance(spp, bool):
        return
    if spp != "linear":
        raise ArgumentError(f"spp must be True, False or 'linear', not {spp!r}.")
    if size not in published.linear_spp:
        having = ", ".join(published.linear_spp)
        hint = f"this release of {family} has one in the sizes {having}" if having else "use True or False"
        raise ArgumentError(
            "spp='linear' leaves out the activation of the first conv of an SPP or SPPF; size "
            f"{size!r} of this {family} has none to leave out; {hint}."
        )


def check_epsilon(epsilon: Any) -> float:
    """Batch normalization's epsilon as a float."""
    number = isinstance(epsilon, (int, float)) and not isinstance(epsilon, bool)
    if not number or not 0 < epsilon < 1:
        raise ArgumentError(f"epsilon must be a number between 0 and 1 such as 1e-3, or None, not {epsilon!r}.")
    return float(epsilon)


def check_stem_stride(stride: Any) -> int:
    """1 or 2."""
    if stride not in (1, 2) or isinstance(stride, (bool, float)):
        raise ArgumentError(f"stem_stride must be 2, or 1 for maps twice as large at a fourfold cost, not {stride!r}.")
    return int(stride)


def check_neck_channels(channels: Any) -> None:
    """A positive integer or `None`."""
    if channels is not None and not _is_positive(channels):
        raise ArgumentError(f"neck_channels must be a positive integer or None, not {channels!r}.")


def image_tensor(
    input_shape: Sequence[int | None], input_tensor: keras.KerasTensor | None, *, stride: int
) -> keras.KerasTensor:
    """The input layer called `images`, or the user's own tensor, checked."""
    if input_tensor is not None:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise ArgumentError(f"input_tensor must be a Keras tensor such as keras.Input(…), not {input_tensor!r}.")
        _check_shape(tuple(input_tensor.shape)[1:], "shape of input_tensor", stride)
        return input_tensor
    _check_shape(input_shape, "input_shape", stride)
    return keras.Input(tuple(input_shape), name="images")


def sources(tensor: keras.KerasTensor) -> keras.KerasTensor | list[keras.KerasTensor]:
    """The inputs that a tensor is computed from; the one input itself if there are not several."""
    found = keras.utils.get_source_inputs(tensor)
    return found[0] if len(found) == 1 else found


def _check_shape(shape: Sequence[int | None], what: str, stride: int) -> None:
    text = f"{what} {shape!r}"
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ArgumentError(f"{text}: expected (height, width, channels), such as (640, 640, 3).")
    if not isinstance(shape[2], int) or shape[2] <= 0:
        raise ArgumentError(f"{text}: the last entry is the number of channels, 3 for RGB.")
    for side, axis in zip(shape[:2], ("height", "width"), strict=True):
        if side is None:
            continue
        if not isinstance(side, int) or isinstance(side, bool) or side <= 0:
            raise ArgumentError(f"{text}: {axis} must be a positive integer or None.")
        if side % stride:
            below, above = side // stride * stride, (side // stride + 1) * stride
            nearest = f"{below} or {above}" if below else f"{above}"
            raise ArgumentError(
                f"{text}: {axis} {side} is no multiple of {stride}, the network's largest stride; use {nearest}."
            )


def _levels_up_to(top: int, *, lowest: int = 2) -> tuple[str, ...]:
    return tuple(f"P{n}" for n in range(lowest, top + 1))


def _is_positive(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
