"""Which network a checkpoint belongs to, from the names and shapes of its kernels."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import keras

from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.registry import variants
from keras_yolo_backbones.weights import darknet_files
from keras_yolo_backbones.weights.readers.checkpoint import Checkpoint, open_checkpoint
from keras_yolo_backbones.weights.shapes import Kernels, kernel_sets, kernels, layout_of

_TELLS = {"v26": re.compile(r"one2one|model\.22\.m\.0\.1\.")}
"""Families whose backbone has the keys and shapes of another's -> keys that only their detector has."""

_TELLING_LAYER = "spp.add"
"""What only the backbones of those families have, among the layers without weights."""

_ENOUGH = 0.5
"""A file with fewer than half of a network's kernels is not taken for it."""


class Identity(NamedTuple):
    """What a checkpoint is.

    Attributes:
        names: registry names of the networks that it fits; several where the backbones are the same in shape.
        complete: it has every kernel of the network.
        format: `"torch"`, `"safetensors"`, `"darknet"` or `"keras"`.
        sha256: of the file.
        tensors: how many it holds; for darknet, how many numbers.
        part: what was taken of a wrapped torch checkpoint, `"ema"` or `"model"`.
    """

    names: tuple[str, ...]
    complete: bool
    format: str
    sha256: str
    tensors: int
    part: str

    @property
    def name(self) -> str:
        """The one name, or all of them joined by "or"."""
        return " or ".join(self.names)

    @property
    def family(self) -> str:
        """Such as `"v8"`; as are `size` and `release`, that of the first name."""
        return variants()[self.names[0]].family.name

    @property
    def size(self) -> str:
        """Such as `"s"`."""
        return variants()[self.names[0]].size

    @property
    def release(self) -> str:
        """Such as `"darknet"`; "" if the family was published once."""
        return variants()[self.names[0]].release


def identify(path: str | os.PathLike[str]) -> Identity:
    """Which family, size and release a checkpoint is. Reads names and shapes, hardly any values; executes nothing.

    Args:
        path: a torch checkpoint, a safetensors file, a darknet .weights file or one of Keras' own.

    Raises:
        CheckpointError: not a weight file, damaged, hostile, or of no network of the zoo.
    """
    with open_checkpoint(path) as checkpoint:
        identity = recognise(checkpoint)
        if not identity.names:
            raise checkpoint.source.error(
                f"its {identity.tensors} tensors are those of no network of the zoo (see `kyb list`)."
            )
        return identity


def recognise(checkpoint: Checkpoint) -> Identity:
    """The same for an open checkpoint; `names` is empty if it is no network of the zoo."""
    if checkpoint.format == "darknet":
        names, complete, count = *darknet_files.recognise(checkpoint.source), darknet_files.count(checkpoint.source)
    else:
        keras_file = checkpoint.format == "keras"
        found = _as_keras(checkpoint.tensors.shapes) if keras_file else _as_original(checkpoint.tensors.shapes)
        names, complete = found
        count = len(checkpoint.tensors)
    return Identity(names, complete, checkpoint.format, checkpoint.sha256, count, checkpoint.part)


def recognise_model(model: keras.Model) -> tuple[str, ...]:
    """Registry names of the networks that `model` may be, whatever it is called; none if it is foreign."""
    shapes = {f"{layer.name}/0": tuple(layer.weights[0].shape) for layer in model.layers if layer.weights}
    if model.name in _as_keras(shapes, only=model.name)[0]:
        return (model.name,)
    names, _ = _as_keras(shapes)
    layers = {layer.name for layer in model.layers}
    fitting = tuple(name for name in names if (name.split("-")[0] in _TELLS) == (_TELLING_LAYER in layers))
    return fitting or names


class _Score(NamedTuple):
    """How well a file fits one network."""

    name: str
    hits: int
    wanted: int

    @property
    def complete(self) -> bool:
        return self.hits == self.wanted


def _as_original(shapes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[str, ...], bool]:
    """Names for a state dict with the original's keys, and whether it is complete."""
    scores = [
        _Score(name, max(_hits(shapes, wanted) for wanted in kernel_sets(name)), len(kernels()[name]))
        for name in kernels()
    ]
    scores = [score for score in scores if score.hits >= _ENOUGH * score.wanted]
    if not scores:
        return (), False
    # Of the networks that are all there, the largest: the file of v3-spp has all of v3-base in it.
    best = max(scores, key=lambda score: (score.complete, score.hits, -score.wanted))
    names = [score.name for score in scores if score[1:] == best[1:]]
    if len(names) > 1:
        names = _told_apart(names, shapes, best.wanted)
    return tuple(names), best.complete


def _hits(shapes: Mapping[str, tuple[int, ...]], wanted: Kernels) -> int:
    """How many kernels are there with the right shape; 0 if one is there with another shape."""
    if any(tuple(shapes[key]) != shape for key, shape in wanted.items() if key in shapes):
        return 0
    return sum(key in shapes for key in wanted)


def _told_apart(names: list[str], shapes: Mapping[str, tuple[int, ...]], wanted: int) -> list[str]:
    """Of networks with the same kernels, those whose detector is in the file; all if there is only a backbone."""
    if sum(len(shape) == 4 for shape in shapes.values()) == wanted:
        return names
    for family, tell in _TELLS.items():
        if any(map(tell.search, shapes)):
            return [name for name in names if name.startswith(f"{family}-")] or names
    return [name for name in names if name.split("-")[0] not in _TELLS] or names


def _as_keras(shapes: Mapping[str, tuple[int, ...]], only: str = "") -> tuple[tuple[str, ...], bool]:
    """Names for a file that Keras wrote, by the layers that are the original's neither cut nor rearranged."""
    layers = {name[:-2]: shape for name, shape in shapes.items() if name.endswith("/0") and len(shape) == 4}
    scores = []
    for name, wanted in kernels().items():
        if only and name != only:
            continue
        expected = {layer: wanted[key] for layer in layers if (key := _whole(layer, _layout(name))) in wanted}
        fits = all(layers[layer] in _in_keras(shape) for layer, shape in expected.items())
        if fits and expected and len(expected) >= _ENOUGH * len(layers) / 2:
            scores.append(_Score(name, len(expected), len(wanted)))
    if not scores:
        return (), False
    best = max(scores, key=lambda score: (score.hits, -score.wanted))
    return tuple(score.name for score in scores if score[1:] == best[1:]), True


@functools.cache
def _layout(name: str) -> Layout:
    return layout_of(variants()[name])


def _whole(layer: str, layout: Layout) -> str:
    """The original's key of a conv layer's kernel; "" if the layer is a slice or a rearrangement, or foreign."""
    if ".at" in layer or layout.piece(layer.rpartition(".")[0]):
        return ""
    return f"{layout.original(layer)}.weight"


def _in_keras(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """(out, in, height, width) as Keras has it, for a conv and for a depthwise one."""
    out, into, height, width = shape
    return (height, width, into, out), (height, width, out, into)
