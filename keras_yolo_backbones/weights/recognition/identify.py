"""Which network a checkpoint is of, from the names and shapes of its kernels."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.weights.readers.checkpoint import Checkpoint, read_checkpoint
from keras_yolo_backbones.weights.readers.facts import Facts
from keras_yolo_backbones.weights.recognition import darknet_files
from keras_yolo_backbones.weights.recognition.alike import of_task, task, told_apart
from keras_yolo_backbones.weights.recognition.folded import found_under
from keras_yolo_backbones.weights.recognition.foreign import foreign
from keras_yolo_backbones.weights.recognition.lacking import CONTEXT, in_words, lacking
from keras_yolo_backbones.weights.recognition.networks import COLOURS, Network, Shape, networks
from keras_yolo_backbones.weights.recognition.rescaled import rescaled, rescaled_layers
from keras_yolo_backbones.weights.recognition.trained import Trained, of_file, parse

_ENOUGH = 0.5
"""A file with fewer than half of a network's kernels is not taken for it."""


class Identity(NamedTuple):
    """What a checkpoint is.

    Attributes:
        names: registry names of the networks that it fits; several where the backbones are the same in shape.
        complete: it has every kernel of the network.
        format: `"torch"`, `"safetensors"`, `"darknet"` or `"keras"`.
        tensors: how many it holds; for darknet, how many numbers.
        part: what was taken of a wrapped torch checkpoint, `"ema"` or `"model"`.
        channels: of the images that its first convolution sees; 3 is RGB, 0 if the file does not have that kernel.
        facts: what the file says of itself: the activation of each module, epsilons, classes, task, version, image
            size, licence. All of it is the file's own claim.
        trained: what the weights were trained with, as far as it changes what they compute.
        found: what is known of the networks.
        lacks: what of the network is missing: `"context block"`, which `spp=False` leaves out, `"part"`, or "".
        missing: the same in words, to be put after the name.
    """

    names: tuple[str, ...]
    complete: bool
    format: str
    tensors: int
    part: str
    channels: int
    facts: Facts
    trained: Trained | None
    found: tuple[Network, ...] = ()
    lacks: str = ""
    missing: str = ""

    def __repr__(self) -> str:
        said = f", {self.trained}{'' if self.trained.stated else ' (assumed)'}" if self.trained else ""
        return f"<{self.format} file of {self.name or 'no network of the zoo'}, {self.tensors} tensors{said}>"

    @property
    def name(self) -> str:
        """The one name, or all of them joined by "or"."""
        return " or ".join(self.names)

    @property
    def network(self) -> Network:
        """What is known of the first of the networks; `family`, `size` and `release` are its."""
        return self.found[0]

    @property
    def family(self) -> str:
        """Such as `"v8"`."""
        return self.network.family

    @property
    def size(self) -> str:
        """Such as `"s"`."""
        return self.network.size

    @property
    def release(self) -> str:
        """Such as `"darknet"`; "" if the family was published once."""
        return self.network.release

    @property
    def options(self) -> dict[str, Any]:
        """The builder's options for the network in the file, those that are not the defaults.

        Raises:
            ArgumentError: there are none for it.
        """
        if self.trained and self.trained.odd:
            odd = ", ".join(f"{m} ({self.facts.activations.get(m, 'its epsilon')})" for m in self.trained.odd[:3])
            raise ArgumentError(f"no option of the builders brings what the file says of {odd}.")
        plain = {"spp": False} if self.lacks == CONTEXT else {}
        return plain | (self.trained.options(self.network) if self.trained else {})


def identify(path: str | os.PathLike[str]) -> Identity:
    """Which family, size and release a checkpoint is. Reads names and shapes, hardly any values; executes nothing.

    Args:
        path: a torch checkpoint, a safetensors file, a darknet .weights file or one of Keras' own.

    Raises:
        CheckpointError: not a weight file, damaged, hostile, or of no network of the zoo.
    """
    with read_checkpoint(path) as checkpoint:
        identity = recognise(checkpoint)
        if not identity.names:
            raise checkpoint.source.error(foreign(checkpoint.facts, checkpoint.tensors.shapes, identity.tensors))
        return identity


def recognise(checkpoint: Checkpoint) -> Identity:
    """The same for an open checkpoint; `names` is empty if it is no network of the zoo."""
    facts, format = checkpoint.facts, checkpoint.format
    if format == "darknet":
        names, complete = darknet_files.recognise(checkpoint.source)
        found, shapes, count = [networks()[name] for name in names], {}, darknet_files.count(checkpoint.source)
    else:
        shapes = checkpoint.tensors.shapes
        found, complete = _found(shapes, format, facts.description)
        count = len(shapes)
    if len(found) > 1:
        found = of_task(found, facts.task or task(shapes, len(found[0].kernels)))
    channels = _channels(shapes, found[0], format) if shapes and found else COLOURS if found else 0
    trained = _trained(found[0], facts, format, shapes) if found else None
    names = tuple(network.name for network in found)
    lacks = "" if complete or not found else lacking(shapes, found[0])
    missing = in_words(found[0], lacks, shapes) if lacks else ""
    known = tuple(found), lacks, missing
    return Identity(names, complete, format, count, checkpoint.part, channels, facts, trained, *known)


def _found(shapes: Mapping[str, Shape], format: str, description: Mapping[str, Any]) -> tuple[list[Network], bool]:
    """The networks that a file with names in it may be of, and whether every kernel is there."""
    names, complete = of_layers(shapes) if format == "keras" else of_state_dict(shapes)
    found = [networks()[name] for name in names]
    scaled = rescaled_layers(shapes) if format == "keras" else rescaled(shapes, description)
    # A network of more units than a published one has all of that in it.
    if scaled and (not complete or len(scaled[0].kernels) > len(found[0].kernels)):
        found, complete = told_apart(scaled, shapes) if format != "keras" else scaled, True
    return found, complete


def _trained(network: Network, facts: Facts, format: str, keys: Container[str]) -> Trained | None:
    written = parse(facts.provenance)
    if written or format == "keras":
        return written
    return of_file(network, network.namings[network.naming(keys)], facts)


class _Score(NamedTuple):
    """How well a file fits one network."""

    name: str
    hits: int
    wanted: int

    @property
    def complete(self) -> bool:
        return self.hits == self.wanted


def of_state_dict(shapes: Mapping[str, Shape]) -> tuple[tuple[str, ...], bool]:
    """Names for tensors under the original's keys, and whether every kernel is there."""
    scores = [_Score(name, _hits(shapes, network), len(network.kernels)) for name, network in networks().items()]
    scores = [score for score in scores if score.hits >= _ENOUGH * score.wanted]
    if not scores:
        return (), False
    # Of the networks that are all there, the largest: the file of v3-spp has all of v3-base in it.
    best = max(scores, key=lambda score: (score.complete, score.hits, -score.wanted))
    names = [score.name for score in scores if score[1:] == best[1:]]
    told = told_apart([networks()[name] for name in names], shapes)
    return tuple(network.name for network in told), best.complete


def _hits(shapes: Mapping[str, Shape], network: Network) -> int:
    """How many kernels are there, in the best naming; 0 if one has a shape that is not the network's."""
    return max(_fitting(shapes, network, naming.kernels) for naming in network.namings)


def _fitting(shapes: Mapping[str, Shape], network: Network, kernels: Mapping[str, Shape]) -> int:
    at = {key: found_under(key, shapes) for key in kernels}
    present = [(key, tuple(shapes[at[key]]), wanted) for key, wanted in kernels.items() if at[key] in shapes]
    if not all(found == wanted or _is_stem(found, wanted, network.stems.get(key)) for key, found, wanted in present):
        return 0
    return len(present)


def _is_stem(found: Shape, wanted: Shape, each: int | None) -> bool:
    """Whether a kernel is the one that sees the image, for images of any number of channels."""
    if each is None or len(found) != len(wanted):
        return False
    return found[:1] + found[2:] == wanted[:1] + wanted[2:] and found[1] > 0 and found[1] % each == 0


def of_layers(shapes: Mapping[str, Shape], only: str = "") -> tuple[tuple[str, ...], bool]:
    """Names for a file that Keras wrote, by the layers whose kernels are the original's, neither cut nor rearranged.

    Args:
        shapes: `"<layer>/<index>"` -> shape.
        only: the one network that may be it.
    """
    found = {name[:-2]: tuple(shape) for name, shape in shapes.items() if name.endswith("/0") and len(shape) == 4}
    scores = []
    for network in networks().values():
        if only and network.name != only:
            continue
        known = {layer: network.kernels[network.layers[layer]] for layer in found if layer in network.layers}
        fits = all(_in_torch(found[layer], network, layer) for layer in known)
        if fits and known and len(known) >= _ENOUGH * len(found) / 2:
            scores.append(_Score(network.name, len(known), len(network.kernels)))
    if not scores:
        return (), False
    best = max(scores, key=lambda score: (score.hits, -score.wanted))
    return tuple(score.name for score in scores if score[1:] == best[1:]), True


def _in_torch(shape: Shape, network: Network, layer: str) -> bool:
    """Whether a layer's kernel is the network's: of a conv, or of a depthwise one."""
    key = network.layers[layer]
    wanted, stem = network.kernels[key], network.stems.get(key)
    height, width, into, out = shape
    candidates = (out, into, height, width), (into, out, height, width)
    return any(found == wanted or _is_stem(found, wanted, stem) for found in candidates)


def _channels(shapes: Mapping[str, Shape], network: Network, format: str) -> int:
    """Image channels, from the first kernel that sees the image; 0 if none of them is there."""
    return next(_seen(shapes, network, format), 0)


def _seen(shapes: Mapping[str, Shape], network: Network, format: str) -> Iterator[int]:
    if format == "keras" and f"{network.stem}/0" in shapes:
        yield shapes[f"{network.stem}/0"][2]
    for key, each in network.stems.items():
        if (found := found_under(key, shapes)) in shapes:
            yield shapes[found][1] // each
