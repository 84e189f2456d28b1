"""What can be said of a file that is of no network of the zoo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras_yolo_backbones.weights.readers.facts import Facts
from keras_yolo_backbones.weights.recognition.networks import Network, Shape, networks

ROUNDING = 8
"""Channels are rounded up to a multiple of this."""


def foreign(facts: Facts, shapes: Mapping[str, Shape], tensors: int) -> str:
    """Why a file is of no network of the zoo, from its structure and what it says of itself.

    Args:
        facts: what it says.
        shapes: of its tensors; none for darknet, whose files name nothing.
        tensors: how many it holds.
    """
    scaled = of_other_width(shapes)
    if scaled:
        network, times = scaled
        return (
            f"is a {network.family}{_scale(facts.description)} with {times:g} times the channels of {network.name}; "
            "the zoo has the published sizes only."
        )
    rows = facts.description.get("backbone")
    modules = [row[2] for row in rows if isinstance(row, list) and len(row) > 2] if isinstance(rows, list) else []
    named = dict.fromkeys(module[:40] for module in modules if isinstance(module, str) and module.isprintable())
    of = f": their backbone is made of {', '.join(list(named)[:12])}" if named else ""
    return f"its {tensors} tensors are those of no network of the zoo{of} (`kyb list` shows the zoo)."


def of_other_width(shapes: Mapping[str, Shape]) -> tuple[Network, float] | None:
    """The network whose layers are a file's, all with so many times the channels; `None` if there is none."""
    found = [(network, ratio) for network in networks().values() if (ratio := _ratio(shapes, network))]
    return min(found, key=lambda pair: abs(pair[1] - 1), default=None)


def _ratio(shapes: Mapping[str, Shape], network: Network) -> float:
    """Output channels of a file's kernels in units of the network's; 0 if they are not in proportion."""
    wanted = network.kernels
    if not all(key in shapes and tuple(shapes[key][2:]) == shape[2:] for key, shape in wanted.items()):
        return 0
    stem = next(iter(network.stems))
    ratio = shapes[stem][0] / wanted[stem][0]
    fits = all(abs(shapes[key][0] - ratio * shape[0]) <= ROUNDING for key, shape in wanted.items())
    return ratio if fits else 0


def _scale(description: Mapping[str, Any]) -> str:
    """Width and depth, as a file's description says them, in words; "" if it does not."""
    scales, name = description.get("scales"), description.get("scale")
    row = scales.get(name) if isinstance(scales, dict) and isinstance(name, str) else None
    depth, width = (
        row[:2]
        if isinstance(row, list) and len(row) > 1
        else (
            description.get("depth_multiple"),
            description.get("width_multiple"),
        )
    )
    if not all(isinstance(number, (int, float)) for number in (depth, width)):
        return ""
    return f" of width {width:g}, depth {depth:g}"
