"""Images of a size that a network's strides do not divide are refused where the network is called.

Keras compares the static shape of what a layer is called on with the `shape` of its `input_spec`, side by side. A side
that is a `MultipleOf` makes it refuse other sizes, at no cost in any graph; where a size is not known, it passes.
"""

from __future__ import annotations

from typing import Any

import keras


class MultipleOf:
    """Stands in a shape for every side that is a multiple of a stride."""

    def __init__(self, stride: int):
        self.stride = stride

    def __eq__(self, other: object) -> bool:
        return isinstance(other, int) and other % self.stride == 0

    def __hash__(self) -> int:
        return hash(self.stride)

    def __repr__(self) -> str:
        return f"<a multiple of {self.stride}>"


def check_sides(model: keras.Model, images: keras.KerasTensor, stride: int) -> None:
    """Let the first layer of `model` that gets `images` refuse sides that are no multiple of `stride`."""
    layers = (layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer))
    _check(next(layer for layer in layers if layer.input is images), stride)


def carry_sides(old: Any, new: Any) -> None:
    """Let a copy of a layer refuse what the layer does."""
    stride = checked_stride(old)
    if stride and type(new) is type(old):
        _check(new, stride)


def checked_stride(layer: Any) -> int:
    """The stride that a layer holds its images against; 0 if it accepts all sizes."""
    shape = getattr(getattr(layer, "input_spec", None), "shape", None) or ()
    return next((side.stride for side in shape if isinstance(side, MultipleOf)), 0)


def _check(layer: keras.Layer, stride: int) -> None:
    spec = keras.InputSpec(ndim=4, axes=getattr(layer.input_spec, "axes", None))
    spec.shape = (None, MultipleOf(stride), MultipleOf(stride), None)
    layer.input_spec = spec
