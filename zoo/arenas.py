"""Write arenas.json of the package, the arenas of int8 files in TFLite Micro: `python zoo/arenas.py PATTERN`.

Bytes of activations and what the interpreter keeps, as `predicted_memory` finds them, for the common image sides; none
where the strides of a network do not divide a side. Renews the rows of a pattern such as `'v8-*'`. A network is built
for one image side, with attention for two; the shapes of its tensors at all others follow from those. `'*'` takes half
an hour; the file is written after each network.

--activations relu6 own    which of the two; own is the family's
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import keras

from keras_yolo_backbones import known_memory
from keras_yolo_backbones.catalogue import catalogue, list_models
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.quantization.memory import Activation, Footprint, footprint
from keras_yolo_backbones.registry import create

TARGET = Path(known_memory.__file__).with_name(known_memory.FILE)
SIDES = (96, 128, 160, 192, 224, 256, 320, 416, 512, 640)


def arenas(name: str, activation: str | None, sides: tuple[int, ...] = SIDES) -> tuple[list[int | None], int]:
    """Bytes of the arena of one network with its own levels, at each side, and of its weights."""
    stride = 2 ** int(catalogue()[name]["levels"][-1][1:])
    bases = (256, 512)
    large = built(name, activation, bases[1])
    # Attention and channel shuffles reshape maps: what becomes of their axes is not told from one size.
    maps = all(tensor.shape[0] == tensor.shape[1] for tensor in large.activations if len(tensor.shape) == 3)
    small = halved(large) if maps and not large.turned else built(name, activation, bases[0])
    needs = [None if side % stride else between(small, large, bases, side).need() for side in sides]
    return [need and need["micro_arena"] for need in needs], large.weights


def halved(large: Footprint) -> Footprint:
    """A convolutional network at half of a side that is a power of two: every map halves, its padding does not."""

    def shape(axes: tuple[int, ...]) -> tuple[int, ...]:
        return (
            tuple(axis if axis == 1 else axis - 2 ** ((axis + 1).bit_length() - 1) // 2 for axis in axes[:-1])
            + axes[-1:]
        )

    activations = [tensor._replace(shape=shape(tensor.shape)) for tensor in large.activations]
    return large._replace(activations=activations)


def built(name: str, activation: str | None, side: int) -> Footprint:
    """What the file of a network holds and computes."""
    keras.backend.clear_session()
    with without_values():
        return footprint(create(name, activation=activation, input_shape=(side, side, 3)))


def between(small: Footprint, large: Footprint, bases: tuple[int, int], side: int) -> Footprint:
    """The same network at a third image side."""

    def shape(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(length(a, b, bases, side) for a, b in zip(one, other, strict=True))

    pairs = zip(small.activations, large.activations, strict=True)
    activations = [Activation(shape(one.shape, other.shape), one.first, one.last) for one, other in pairs]
    turned = [shape(one, other) for one, other in zip(small.turned, large.turned, strict=True)]
    return small._replace(activations=activations, turned=turned)


def length(small: int, large: int, bases: tuple[int, int], side: int) -> int:
    """One axis of a tensor at a third image side: channels stay, cells grow with the area, all else with the side."""
    first, second = bases
    if small == large:
        return small
    if large * first**2 == small * second**2:
        found, rest = divmod(small * side**2, first**2)
    else:
        steps, rest = divmod((large - small) * (side - first), second - first)
        found = small + steps
    if rest:
        raise ValueError(f"{small} and {large} at {first} and {second} say nothing of {side}")
    return found


def text(known: dict[str, Any]) -> str:
    """The file's content: one line a network, in the catalogue's order."""
    rows = [f"{json.dumps(name)}: {json.dumps(known[name])}" for name in list_models() if name in known]
    return f'{{"sides": {json.dumps(SIDES)}, "networks": {{\n' + ",\n".join(rows) + "\n}}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern")
    parser.add_argument("--activations", nargs="+", choices=("relu6", "own"), default=("relu6", "own"))
    args = parser.parse_args()
    known = json.loads(TARGET.read_text("utf-8"))["networks"] if TARGET.exists() else {}
    for name in list_models(args.pattern):
        row = known.setdefault(name, {})
        for key in args.activations:
            row[key], row["weights"] = arenas(name, None if key == "own" else key)
        print(name, known[name], flush=True)
        TARGET.write_text(text(known), "utf-8")


if __name__ == "__main__":
    main()
