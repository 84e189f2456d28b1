"""What a file is recognised by: every network's kernels, layers and activations, as data.

`networks.json.gz` holds them, so that neither Keras is imported nor a network built.
`python zoo/networks.py` writes it.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
from collections.abc import Container, Iterable, Mapping
from importlib import resources

from keras_yolo_backbones.multiples import Multiples
from keras_yolo_backbones.weights.recognition.scaling import Scaling

FILE = "networks.json.gz"

COLOURS = 3
"""Channels of the images that the originals were trained on."""

Shape = tuple[int, ...]

Kernels = dict[str, Shape]
"""State-dict key -> (out, in, height, width)."""


@dataclasses.dataclass(frozen=True)
class Naming:
    """One way in which files name the tensors of a network.

    Attributes:
        kernels: every kernel of the backbone.
        activations: module -> name of its activation, `"linear"` for none. In the network as it was published.
        context: the first conv of the SPP or SPPF, "" if there is none.
    """

    kernels: Kernels
    activations: dict[str, str]
    context: str


_OWN = Multiples()


@dataclasses.dataclass(frozen=True)
class Network:
    """One network of the zoo.

    Attributes:
        name: registry name, such as `"v8-n"`.
        family: such as `"v8"`.
        release: such as `"darknet"`; "" if the family was published once.
        size: such as `"n"`.
        epsilon: of the batch norms, as published.
        licence: SPDX identifier of the published weights.
        namings: of the known files; that of the release first.
        layers: our layer -> the kernel it holds, for kernels that are neither cut nor rearranged.
        stem: our layer that sees the image.
        scaling: how it follows from its multiples; `None` if it has none.
        multiples: those of a network that was not published, in place of its size's own.
    """

    name: str
    family: str
    release: str
    size: str
    epsilon: float
    licence: str
    namings: tuple[Naming, ...]
    layers: dict[str, str]
    stem: str
    scaling: Scaling | None = None
    multiples: Multiples = _OWN

    @property
    def kernels(self) -> Kernels:
        """The kernels under the names of the network's release."""
        return self.namings[0].kernels

    def naming(self, keys: Container[str]) -> int:
        """The place in `namings` of the one that a file with these state-dict keys follows; 0 if none fits wholly.

        If two fit, the later one counts. This is so in yolov9-e: in its file, the place of the first layout holds an
        auxiliary branch of the same shape.
        """
        fitting = [at for at, naming in enumerate(self.namings) if all(key in keys for key in naming.kernels)]
        return fitting[-1] if fitting else 0

    @functools.cached_property
    def stems(self) -> dict[str, int]:
        """The kernels that see the image, in every naming -> how often they see each of its channels (4 in a Focus)."""
        kernels = {key: shape for naming in self.namings for key, shape in naming.kernels.items()}
        return {key: shape[1] // COLOURS for key, shape in kernels.items() if shape[1] in (COLOURS, 4 * COLOURS)}


@functools.cache
def networks() -> Mapping[str, Network]:
    """All networks by name."""
    data = resources.files(__package__).joinpath(FILE).read_bytes()
    return {name: _network(name, **row) for name, row in json.loads(gzip.decompress(data)).items()}


def _network(name: str, namings: list[dict], scaling: dict | None, **row: object) -> Network:
    read = [
        Naming({key: tuple(shape) for key, shape in found["kernels"].items()}, found["activations"], found["context"])
        for found in namings
    ]
    found = Scaling(**scaling) if scaling else None
    return Network(name, namings=tuple(read), scaling=found, **row)  # type: ignore[arg-type]


def packed(table: Iterable[Network]) -> bytes:
    """The content of `networks.json.gz`, the same bytes for the same networks."""
    rows = {network.name: dataclasses.asdict(network) for network in table}
    for row in rows.values():
        del row["name"], row["multiples"]
    return gzip.compress(json.dumps(rows, separators=(",", ":")).encode(), mtime=0)
