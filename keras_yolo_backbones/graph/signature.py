"""What a model takes and gives, by name."""

from __future__ import annotations

from typing import NamedTuple

import keras

from keras_yolo_backbones.errors import ArgumentError, ExportError
from keras_yolo_backbones.graph.read import functional, read


class ImageInput(NamedTuple):
    """The image input of a model.

    Attributes:
        name: of the input, `"images"` for the backbones.
        shape: (height, width, channels); height and width may be `None`.
        largest: the largest pixel value: 1.0, or 255.0 if the model divides by itself.
    """

    name: str
    shape: tuple[int | None, int | None, int]
    largest: float

    def sized(self, image_size: int | tuple[int, int] | None) -> tuple[int, int, int]:
        """The shape with `image_size` (a side, or height and width) in place of what the model leaves open.

        Raises:
            ArgumentError: the size is missing, or another than the model's own.
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
        return (*wanted, channels)

    def any_size(self, side: int = 128) -> tuple[int, int, int]:
        """The shape with `side` in place of what the model leaves open: a size to try it on."""
        height, width, channels = self.shape
        return height or side, width or side, channels


def image_input(model: keras.Model) -> ImageInput:
    """The single image input of `model`; `ExportError` if it has several, or none of (height, width, channels)."""
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in model.inputs)
        raise ExportError(
            f"model {model.name!r} takes {shapes}; expected one input of images (batch, height, width, channels)."
        )
    tensor = model.inputs[0]
    return ImageInput(tensor.name, tuple(tensor.shape[1:]), _largest_pixel(model))


def _largest_pixel(model: keras.Model) -> float:
    """255 if all that the model does with its images is to divide them by 255, otherwise 1."""
    graph = read(model)
    consumers = [node.layer for node in graph.consumers(graph.nodes[0])]
    rescales = [isinstance(layer, keras.layers.Rescaling) and abs(layer.scale * 255 - 1) < 1e-3 for layer in consumers]
    return 255.0 if rescales and all(rescales) else 1.0


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
    for name in functional(model).output_names:
        count = sum(other.rsplit("_", 1)[0] == name or other == name for other in names)
        names.append(f"{name}_{count}" if count else name)
    return dict(zip(names, model.outputs, strict=True))
