"""What a model takes and gives, by name."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

import keras
import numpy as np

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, ExportError
from keras_yolo_backbones.graph.arithmetic import Affine, affine_of
from keras_yolo_backbones.graph.copies import is_known
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import functional, output_names, read
from keras_yolo_backbones.preprocessing import RGB, RGB_PIXELS, Preprocessing, for_channels
from keras_yolo_backbones.provenance import provenance_of

_MANY = 16
"""Who divides by more, or subtracts more, takes pixels. Deviations and means of images are some 60 and 120 of 255."""

_WHOLE = ("uint8", "uint16", "int16", "int32", "int64")
"""Types of images that hold pixels."""

_MOVING = ("Cast", "GetItem", "Flip", "Identity", "Dropout", "SpatialDropout2D", "Stack", "ZeroPadding2D", "RandomFlip")
"""Layers and operations that do nothing to a pixel but move it."""


class ImageInput(NamedTuple):
    """The image input of a model.

    Attributes:
        name: of the input, `"images"` for the backbones.
        shape: (height, width, channels); height and width may be `None`.
        preprocessing: what is done to the bytes of a photograph to get what the model takes.
        stride: height and width are multiples of it: the largest stride of the model's levels, 1 if it has none.
    """

    name: str
    shape: tuple[int | None, int | None, int]
    preprocessing: Preprocessing = RGB
    stride: int = 1

    def sized(self, image_size: int | tuple[int, int] | None) -> tuple[int, int, int]:
        """The shape with `image_size` (a side, or height and width) in place of what the model leaves open.

        Raises:
            ArgumentError: the size is missing, is not the model's own, or is no multiple of its largest stride.
        """
        height, width, channels = self.shape
        if image_size is None:
            if height is None or width is None:
                raise ArgumentError(
                    f"the model leaves its image size open ({height}, {width}); this format needs one: "
                    "pass image_size=640 or image_size=(height, width)."
                )
            return height, width, channels
        wanted = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(wanted) != 2 or not all(isinstance(side, int) and side > 0 for side in wanted):
            raise ArgumentError(f"image_size {image_size!r}: expected a side or (height, width) in pixels.")
        if any(own not in (None, side) for own, side in zip((height, width), wanted, strict=True)):
            raise ArgumentError(
                f"image_size {wanted}: the model was built for ({height}, {width}); "
                f"build it with input_shape=({wanted[0]}, {wanted[1]}, {channels}), or with None for both."
            )
        self.check_size(wanted, "image_size")
        return (*wanted, channels)

    def check_size(self, size: tuple[int, ...], what: str) -> None:
        """Raise `ArgumentError` unless a model that leaves its size open takes images of this height and width."""
        for own, side in zip(self.shape[:2], size, strict=True):
            if own is None and side % self.stride:
                below, above = side // self.stride * self.stride, -(-side // self.stride) * self.stride
                raise ArgumentError(
                    f"{what} {tuple(size)}: {side} is no multiple of {self.stride}, the model's largest stride; use "
                    f"{f'{below} or ' if below else ''}{above}, or letterbox the images to that."
                )

    def any_size(self, side: int = 128) -> tuple[int, int, int]:
        """The shape with `side` in place of what the model leaves open: a size to try it on."""
        height, width, channels = self.shape
        side = -(-side // self.stride) * self.stride
        return height or side, width or side, channels


def image_input(model: keras.Model) -> ImageInput:
    """The single image input of `model`.

    Raises:
        ArgumentError: it is no functional model.
        ExportError: it has several inputs, or none of (height, width, channels).
    """
    check_model(model)
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ExportError(
            f"model {model.name!r} takes {shapes}; expected one input of images (batch, height, width, channels)."
        )
    tensor = model.inputs[0]
    return ImageInput(tensor.name, tuple(tensor.shape[1:]), _preprocessing(model), largest_stride(model))


def largest_stride(model: keras.Model) -> int:
    """2ⁿ for the highest level Pn among the outputs of `model`, 1 if none is called so."""
    levels = [int(found[1]) for name in named_outputs(model) if (found := re.fullmatch(r"P([1-9])", name))]
    return 2 ** max(levels, default=0)


def _preprocessing(model: keras.Model) -> Preprocessing:
    """What the model's weights take; pixels 0…255 where its first layers say so."""
    contract = for_channels(model.inputs[0].shape[-1])
    provenance = provenance_of(model.layers)
    if provenance and provenance.preprocessing != RGB:
        taken = provenance.preprocessing
        return taken if contract.color == "RGB" else dataclasses.replace(taken, color=contract.color)
    return dataclasses.replace(contract, largest=RGB_PIXELS.largest) if _takes_pixels(model) else contract


def _takes_pixels(model: keras.Model) -> bool:
    """Whether images are integers, or what comes first makes values of 0…255 small: [0, 1] would be nearly constant."""
    if model.inputs[0].dtype in _WHOLE:
        return True
    graph = read(model)
    return _scales_pixels(graph, graph.nodes[0], Affine(np.ones(1), np.zeros(1)))


def _scales_pixels(graph: Graph, node: Node, so_far: Affine) -> bool:
    """Whether all that uses `node`, which is the images after `so_far`, makes values of 0…255 small."""
    consumers = graph.consumers(node)
    return bool(consumers) and all(_is_for_pixels(graph, consumer, so_far) for consumer in consumers)


def _is_for_pixels(graph: Graph, node: Node, so_far: Affine) -> bool:
    if is_known(node.layer) and type(node.layer).__name__ in _MOVING:
        return _scales_pixels(graph, node, so_far)
    scaled = affine_of(node.layer, node.args)
    if scaled is None or not scaled.scale.all():
        return False
    whole = so_far.then(scaled)
    large = np.abs(whole.scale).max() < 1 / _MANY or np.abs(whole.shift / whole.scale).max() > _MANY
    return bool(large) or _scales_pixels(graph, node, whole)


def named_outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The outputs of `model` by name: its dict's keys, or the names of the layers that made them.

    Where one layer made several, those after the first are numbered: `"head"`, `"head_1"`.
    """
    if type(model).__module__.startswith("tf_keras"):  # the twin for quantization has the model's own dict
        return model.output
    outputs = functional(model).output
    if isinstance(outputs, dict):
        return outputs
    names: list[str] = []
    for name in output_names(functional(model)):
        count = sum(other.rsplit("_", 1)[0] == name or other == name for other in names)
        names.append(f"{name}_{count}" if count else name)
    return dict(zip(names, model.outputs, strict=True))
