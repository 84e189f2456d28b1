"""A network as a list of its parts, stem, stages, blocks on top, and how they hang together: what a picture shows."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import keras
from keras import tree

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read

TWICE = "pre"
"""Prefix of the parts of a first pass over the image (YOLOv9 e): with it a name has one more word."""

_KINDS = {
    "Add": "sum",
    "Concatenate": "concat",
    "MaxPooling2D": "max pool",
    "AveragePooling2D": "average pool",
    "GlobalAveragePooling2D": "mean",
    "UpSampling2D": "upsampling",
    "MatMul": "matrix product",
    "Softmax": "softmax",
    "Dense": "dense",
}
"""Class of a layer -> what a picture calls it; other layers are not mentioned."""


@dataclasses.dataclass
class Part:
    """One part of a network.

    Attributes:
        name: such as `"stage3"`, after that of the nested model it is in. A part that is interrupted is there twice.
        size: (height, width, channels) of what comes out of it.
        parameters: trainable and not.
        contents: its layers in words, such as `"2 convs 1×1, 4 convs 3×3, 2 sums, concat"`.
        sources: the parts it takes tensors from, by their places in the list.
        outputs: what the model returns of it: name -> (height, width, channels).
    """

    name: str
    size: tuple[int, int, int]
    parameters: int
    contents: str
    sources: list[int]
    outputs: dict[str, tuple[int, int, int]]


def parts_of(model: keras.Model) -> list[Part]:
    """The parts of a model in their order, its images first.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: the image size is open, so that maps have no size.
    """
    graph = read(model)
    members: list[list[Node]] = []
    place: dict[Node, int] = {}
    latest: dict[str, int] = {}
    for node in graph.nodes:
        name = _part_name(node)
        before = max((place[value.node] for value in node.inputs), default=0)
        if name not in latest or before > latest[name]:  # DAMO-YOLO's last group goes on after the SPP in it
            latest[name] = len(members)
            members.append([])
        place[node] = latest[name]
        members[latest[name]].append(node)
    return [_part(graph, _part_name(nodes[0]), nodes, place) for nodes in members]


def _part_name(node: Node) -> str:
    """The first word of a layer's name, after the names of the models it is in."""
    around = node.name.removesuffix(node.layer.name)
    words = node.layer.name.split(".")
    return around + ".".join(words[: 2 if words[0] == TWICE else 1])


def _part(graph: Graph, name: str, nodes: list[Node], place: dict[Node, int]) -> Part:
    own = place[nodes[0]]
    sources = sorted({place[value.node] for node in nodes for value in node.inputs} - {own})
    layers = list({id(node.layer): node.layer for node in nodes}.values())
    parameters = sum(math.prod(weight.shape) for layer in layers for weight in getattr(layer, "weights", ()))
    outputs = graph.outputs if isinstance(graph.outputs, dict) else dict(enumerate(tree.flatten(graph.outputs)))
    returned = {str(key): _size(value.node) for key, value in outputs.items() if place[value.node] == own}
    return Part(name, _size(nodes[-1]), parameters, _in_words(layers), sources, returned)


def _size(node: Node) -> tuple[int, int, int]:
    shape = tuple(tree.flatten(node.layer.output)[0].shape[1:])
    if None in shape:
        raise GraphError(f"layer {node.name!r} has the open shape {shape}; build the model for one image size.")
    height, width, *_ = (*shape[:-1], 1, 1)
    return height, width, shape[-1] if shape else 1


def _in_words(layers: list[Any]) -> str:
    counts = Counter(filter(None, map(_kind, layers)))
    order = sorted(counts, key=lambda kind: ("conv" not in kind, "depthwise" in kind, kind))
    return ", ".join(_counted(counts[kind], kind) for kind in order)


def _kind(layer: Any) -> str:
    if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
        side, stride = layer.kernel_size[0], layer.strides[0]
        deep = "depthwise conv" if isinstance(layer, keras.layers.DepthwiseConv2D) else "conv"
        return f"{deep} {side}×{side}" + (f" stride {stride}" if stride > 1 else "")
    return _KINDS.get(type(layer).__name__, "")


def _counted(count: int, kind: str) -> str:
    """3, "conv 1×1" -> "3 convs 1×1"."""
    if count == 1:
        return kind
    noun = next((word for word in ("depthwise conv", "conv", *_KINDS.values()) if kind.startswith(word)), kind)
    return f"{count} {noun}s{kind.removeprefix(noun)}"
