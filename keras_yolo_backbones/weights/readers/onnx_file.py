"""ONNX files: their initializers as tensors, and what the graph and its metadata say of the network.

The large values are cut out of the protocol buffer first, so that the onnx package only ever meets a small one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.facts import Facts, of_shapes
from keras_yolo_backbones.weights.readers.feed import Feed, MalformedError, Span
from keras_yolo_backbones.weights.readers.onnx_graph import activations, names_of
from keras_yolo_backbones.weights.readers.onnx_skeleton import skeleton
from keras_yolo_backbones.weights.readers.source import Source
from keras_yolo_backbones.weights.readers.tensors import Tensor, is_shape

_TYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
"""ONNX' numbers of element types. Whole numbers in a graph are shapes and indices, not weights."""

_EXTERNAL = 1
_NEXT = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)

_CLASS = re.compile(r"\d+: ?(?:'([^']*)'|\"([^\"]*)\")")
_MAX_TEXT = 200
_MAX_NAMES = 1 << 20


def is_onnx(head: bytes) -> bool:
    """Whether a file that begins so may be ONNX: the version of the format, then one of the next fields."""
    return (
        len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)
    )


def read_onnx(source: Source) -> tuple[dict[str, Tensor], Facts]:
    """The floating-point initializers of an ONNX file by name, and what it says of the network.

    Kernels that the exporter renamed get the path of the node that uses them.

    Raises:
        CheckpointError: not an ONNX file, or one that is damaged, has its weights in a second file, or lacks the
            original's names.
    """
    from google.protobuf.message import DecodeError
    from onnx import ModelProto

    try:
        small, values = skeleton(Feed(source.read, 0, source.size, source.budget), source.budget)
        model = ModelProto.FromString(small)
    except (MalformedError, DecodeError) as error:
        raise source.error(f"looks like ONNX, but {shown(error)}: it is damaged; download it again.") from None
    graph = model.graph
    source.budget.spend(len(graph.node) + len(graph.initializer))
    if not all(isinstance(text, str) for text in _texts(model)):
        raise source.error("looks like ONNX, but holds a name that is no UTF-8: it is damaged; download it again.")
    renamed = names_of(graph)
    tensors = {}
    for entry, value in zip(graph.initializer, values, strict=True):
        tensor = _tensor(source, entry, value)
        if tensor is not None:
            tensors.update(dict.fromkeys(renamed.get(entry.name, [entry.name]), tensor))
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    kernels = [name for name, shape in shapes.items() if len(shape) == 4]
    if not any(name.endswith(".weight") for name in kernels):
        found = f", but names such as {shown(kernels[0])!r}" if kernels else ""
        raise source.error(
            f"is an ONNX file without the original's names{found}; load the checkpoint it was made from."
        )
    scalars = {name: float(tensor.array().item()) for name, tensor in tensors.items() if tensor.size == 1}
    return tensors, Facts(activations(graph, renamed, scalars, source.budget), **_stated(model), **of_shapes(shapes))


def _texts(model: Any) -> Iterator[Any]:
    """Every text that is read here. The protobuf library returns one that is no UTF-8 as bytes."""
    for node in model.graph.node:
        yield from (node.name, node.op_type, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    yield from (entry.name for entry in model.graph.initializer)
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)


def _tensor(source: Source, entry: Any, value: Span | None) -> Tensor | None:
    """An initializer as a tensor; `None` if it holds whole numbers, or its values in an unusual way."""
    if entry.data_location == _EXTERNAL:
        raise source.error("keeps its weights in a second file; export it again as one file.")
    dtype, shape = _TYPES.get(entry.data_type), list(entry.dims)
    if dtype is None or value is None:
        return None
    if not is_shape(shape) or value.size != Tensor(tuple(shape), dtype, bytes).nbytes:
        raise source.error(f"holds {shown(entry.name)!r} with {value.size} bytes, which its shape does not take.")
    return Tensor(tuple(shape), dtype, lambda: source.read(value.offset, value.size))


def _stated(model: Any) -> dict[str, Any]:
    """What exporters write into the metadata."""
    said = {entry.key: entry.value for entry in model.metadata_props}
    sides = re.fullmatch(r"\[(\d{1,6}), ?(\d{1,6})\]", said.get("imgsz", "")[:40])
    return {
        "classes": tuple(shown(a or b, _MAX_TEXT) for a, b in _CLASS.findall(said.get("names", "")[:_MAX_NAMES])),
        "task": shown(said.get("task", ""), _MAX_TEXT),
        "version": shown(said.get("version", ""), _MAX_TEXT),
        "date": shown(said.get("date", ""), _MAX_TEXT),
        "licence": shown(said.get("license", ""), _MAX_TEXT),
        "image_size": (int(sides[1]), int(sides[2])) if sides else None,
    }
