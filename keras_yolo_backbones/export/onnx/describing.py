"""What an ONNX file says about itself, in its metadata and in its manifest."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import keras

from keras_yolo_backbones.export.manifest import origins
from keras_yolo_backbones.graph.signature import image_input, named_outputs
from keras_yolo_backbones.provenance import every_provenance
from keras_yolo_backbones.version import __version__

_PROBE = 512
"""A side that every stride of a pyramid divides, for models that leave the image size open."""


def metadata(model: keras.Model, layout: str, **more: Any) -> dict[str, str]:
    """`model`, `layout`, `levels`, `preprocessing` and the package's version; `more` as JSON."""
    return {
        "model": model.name,
        "layout": layout.upper(),
        "levels": json.dumps(levels(model)),
        "preprocessing": json.dumps(image_input(model).preprocessing.describe()),
        "keras_yolo_backbones": __version__,
        **_origin(model),
        **{name: json.dumps(value) for name, value in more.items()},
    }


def _origin(model: keras.Model) -> dict[str, str]:
    """Licence and source of the weights, if they were loaded from a file."""
    found = every_provenance(model)
    if not found:
        return {}
    licences = dict.fromkeys(provenance.licence for provenance in found)
    return {"licence": ", ".join(licences), **{name: json.dumps(value) for name, value in origins(model).items()}}


def levels(model: keras.Model) -> dict[str, dict[str, int]]:
    """Name of each output that is a map of the image -> its stride and channels, whatever it is called."""
    height, width, channels = (side or _PROBE for side in image_input(model).shape)
    shapes = {name: tuple(tensor.shape) for name, tensor in named_outputs(model).items()}
    if any(None in shape[1:] for shape in shapes.values()):
        given = model.compute_output_shape((1, height, width, channels))
        shapes = {name: tuple(shape) for name, shape in _named(given, list(shapes)).items()}
    found = {}
    for name, shape in shapes.items():
        stride = _stride((height, width), shape[1:3]) if len(shape) == 4 else None
        if stride is not None:
            found[name] = {"stride": stride, "channels": shape[-1]}
    return found


def _named(given: Any, names: list[str]) -> dict[str, Any]:
    """Shapes as Keras gives them, by name."""
    if isinstance(given, dict):
        return given
    return dict(zip(names, given if isinstance(given[0], (tuple, list)) else [given], strict=True))


def _stride(image: tuple[int, int], cells: tuple[int, ...]) -> int | None:
    """The power of two by which a map is smaller than the image, at both sides; `None` if there is none."""
    for stride in (1, 2, 4, 8, 16, 32, 64, 128):
        if all(-(-side // stride) == count for side, count in zip(image, cells, strict=True)):
            return stride
    return None


def turn_channels_first(manifest: dict[str, Any]) -> None:
    """Say the shapes of a manifest in NCHW."""
    batch, height, width, channels = manifest["input"]["shape"]
    manifest["input"] |= {"layout": "NCHW", "shape": [batch, channels, height, width]}
    for output in manifest["outputs"].values():
        height, width, channels = output["shape"]
        output["shape"] = [channels, height, width]


def inventory(proto: Any) -> dict[str, int]:
    """Operator -> how many of them a file has, most frequent first."""
    return dict(Counter(node.op_type for node in proto.graph.node).most_common())
