"""What of a network is not in a file: the context block on top, which the builders can leave out, or something else."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from keras_yolo_backbones.weights.recognition.folded import found_under
from keras_yolo_backbones.weights.recognition.networks import Network, Shape

CONTEXT = "context block"
PART = "part"

_ON_TOP = ("spp.", "top.")
"""Our layers that the builders leave out with `spp=False`."""

_INSIDE = ("yolox",)
"""Families whose pooling is inside the last stage: it stays with `spp=False`."""

_RELATIVES = {"v6": "as Gold-YOLO has"}
"""Family -> whose backbone has a context block of a different kind on the same stages."""


def lacking(shapes: Mapping[str, Shape], network: Network) -> str:
    """What a file of which something is missing lacks: `CONTEXT` if it has all other kernels, or else `PART`."""
    naming = network.namings[0].kernels
    missing = {key for key in naming if found_under(key, shapes) not in shapes}
    return CONTEXT if missing and missing == _context(network) else PART


def in_words(network: Network, lacks: str, shapes: Mapping[str, Shape]) -> str:
    """The same, to be put after the network's name."""
    if lacks != CONTEXT:
        return f", of which a {lacks} is missing" if lacks else ""
    other = _other_context(shapes, network)
    if not other:
        return f" without its {CONTEXT}"
    alike = f", {_RELATIVES[network.family]}" if network.family in _RELATIVES else ""
    return f" with a different {CONTEXT} ({other}{alike}), which is left out"


def _context(network: Network) -> set[str]:
    """The kernels of the context block, under the names of the network's release; none if attention is on top of it."""
    if network.family in _INSIDE or any(layer.startswith("psa.") for layer in network.layers):
        return set()
    return {key for layer, key in network.layers.items() if layer.startswith(_ON_TOP)}


def _other_context(shapes: Mapping[str, Shape], network: Network) -> str:
    """The module that is where the context block should be; "" if there is none, or if nothing shows the place."""
    context = _context(network)
    parent = posixpath.commonpath([key.replace(".", "/") for key in context]).rpartition("/")[0].replace("/", ".") + "."
    if any(key.startswith(parent) for key in network.kernels if key not in context):
        return ""
    others = [key for key, shape in shapes.items() if key.startswith(parent) and len(shape) == 4]
    return parent + others[0].removeprefix(parent).partition(".")[0] if others else ""
