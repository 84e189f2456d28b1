"""The kernels of every network of the zoo, by the original's state-dict keys: what a checkpoint is recognised by.

`shapes.json.gz` holds them, so that no network has to be built for it. `python zoo/shapes.py` makes it anew.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Container, Mapping
from importlib import resources

from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.registry import Variant, create, find
from keras_yolo_backbones.weights.mapping import original_shapes

FILE = "shapes.json.gz"

Kernels = dict[str, tuple[int, ...]]
"""State-dict key -> (out, in, height, width)."""


def layout_of(variant: Variant) -> Layout:
    """Where the original's checkpoints of a network keep their tensors."""
    return layouts_of(variant)[0]


def layouts_of(variant: Variant) -> list[Layout]:
    """The same for all known files of a network, those of its release first."""
    release = variant.family.release(variant.release or None)
    spec = release.sizes[variant.size]
    return [release.layout(spec), *release.other_layouts(spec)]


def layout_for(variant: Variant, keys: Container[str]) -> Layout:
    """The layout of a file with these state-dict keys; the release's own if none fits wholly.

    Where two fit, the later one counts: what stands at the first one's place is an auxiliary branch of the same shape.
    """
    layouts = layouts_of(variant)
    fitting = [at for at, found in enumerate(kernel_sets(variant.name)) if all(key in keys for key in found)]
    return layouts[fitting[-1] if fitting else 0]


@functools.cache
def kernel_sets(name: str) -> list[Kernels]:
    """The kernels of a network under the keys of each of `layouts_of`."""
    first, *others = layouts_of(find(name))
    own = kernels()[name]
    return [own, *({moved(key, first, other): shape for key, shape in own.items()} for other in others)]


def moved(key: str, first: Layout, other: Layout) -> str:
    """A backbone's key of one layout of a network as another of its layouts has it."""
    modules = {original: other.prefixes[ours] for ours, original in first.prefixes.items()}
    head = key
    while head not in modules:
        head = head.rpartition(".")[0]
    return modules[head] + key[len(head) :]


@functools.cache
def kernels() -> Mapping[str, Kernels]:
    """Registry name -> kernels of the network."""
    data = resources.files("keras_yolo_backbones.weights").joinpath(FILE).read_bytes()
    table = json.loads(gzip.decompress(data))
    return {name: {key: tuple(shape) for key, shape in found.items()} for name, found in table.items()}


def measured(name: str) -> Kernels:
    """The kernels of a network, from the network itself: builds it."""
    side = 2 ** max(6, find(name).family.spec(find(name).size, find(name).release or None).top)
    shapes = original_shapes(create(name, input_shape=(side, side, 3)), layout_of(find(name)))
    return {key: shape for key, shape in shapes.items() if len(shape) == 4}


def packed(table: Mapping[str, Kernels]) -> bytes:
    """The content of `shapes.json.gz`, the same bytes for the same table."""
    return gzip.compress(json.dumps(table, separators=(",", ":")).encode(), mtime=0)
