"""Files of networks of the zoo that have a width, a depth or a channel cap of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from keras_yolo_backbones.multiples import Multiples
from keras_yolo_backbones.weights.recognition.folded import folded_keys
from keras_yolo_backbones.weights.recognition.networks import Kernels, Naming, Network, Shape, networks
from keras_yolo_backbones.weights.recognition.scaling import Scaling, expanded, link, list_of

_ROUNDING = 8
"""Channels are rounded up to a multiple of this at most."""

_PUBLISHED_DEPTHS = (0.33, 0.67, 1.0, 0.5, 0.6, 1.33)
"""They are tried before others that bring the same."""

_MOST_LAYERS = 10_000
"""A file of Keras with more is of no network of the zoo."""

Groups = Mapping[str, Mapping[int | None, Shape]]
"""Kernel without its place in a list of units -> place -> shape."""


def rescaled(shapes: Mapping[str, Shape], description: Mapping[str, Any]) -> list[Network]:
    """The networks with multiples of their own all of whose kernels a file has.

    Args:
        shapes: of the file's tensors, under the original's keys.
        description: what the file says of its network. Its multiples are preferred where several bring the same.

    Returns:
        Of every family and release the one with the fewest multiples; only those with the most kernels.
    """
    said = tuple(_said(description))
    groups = _grouped(shapes.items())
    found = []
    for network in networks().values():
        for at in range(len(network.namings) if network.scaling else 0):
            found.append(_fitted(groups, network, at, network.namings[at].kernels, said))
    return _best(network for network in found if network)


def rescaled_layers(shapes: Mapping[str, Shape]) -> list[Network]:
    """The same for a file of Keras: `"<layer>/0"` -> shape of its kernel."""
    layers = {name[:-2]: shape for name, shape in shapes.items() if name.endswith("/0") and len(shape) == 4}
    found = []
    for network in networks().values() if len(layers) < _MOST_LAYERS else ():
        if network.scaling:
            kernels = {key: network.kernels[key] for key in network.layers.values()}
            groups = _grouped(_in_torch(layers, network))
            found.append(_fitted(groups, network, 0, kernels, ()))
    return _best(network for network in found if network)


class _Said(NamedTuple):
    """Multiples as a file's description says them."""

    width: float
    depth: float
    max_channels: int


def _said(description: Mapping[str, Any]) -> Iterator[_Said]:
    """The multiples in a description, if they are numbers that can be such."""
    scales, scale = description.get("scales"), description.get("scale")
    row = scales.get(scale) if isinstance(scales, dict) and isinstance(scale, str) else None
    if not isinstance(row, list):
        row = [description.get(name) for name in ("depth_multiple", "width_multiple", "max_channels")]
    depth, width, cap = (*row, None, None, None)[:3]
    if all(isinstance(number, (int, float)) and 0 < number < 100 for number in (depth, width)):
        yield _Said(float(width), float(depth), cap if isinstance(cap, int) and 0 < cap < 1 << 16 else 1 << 16)  # type: ignore[arg-type]


def _grouped(kernels: Iterable[tuple[str, Shape]]) -> Groups:
    groups: dict[str, dict[int | None, Shape]] = {}
    for key, shape in kernels:
        if len(shape) == 4:
            bare, place = link(key)
            groups.setdefault(bare, {})[place] = tuple(shape)
    return groups


def _in_torch(layers: Mapping[str, Shape], network: Network) -> Iterator[tuple[str, Shape]]:
    """Kernels of Keras' layers in torch's order, under the original's keys."""
    known = {link(layer)[0]: key for layer, key in network.layers.items()}
    for layer, (height, width, into, out) in layers.items():
        bare, place = link(layer)
        key = network.layers.get(layer) or known.get(bare)
        if key:
            name = link(key)[0].replace("*", str(place), 1) if place is not None else key
            depthwise = network.kernels[key][1] == 1
            yield name, (into, out, height, width) if depthwise else (out, into, height, width)


def _fitted(groups: Groups, network: Network, at: int, kernels: Kernels, said: tuple[_Said, ...]) -> Network | None:
    """The network with the multiples that a file's kernels have; `None` if they are not its."""
    scaling = _renamed(network, at)
    found = _units(groups, kernels, scaling)
    if scaling is None or found is None:
        return None
    counts, units = found
    channels = {key: units[link(key)[0]][link(key)[1]][0] for key in scaling.channels if key in kernels}
    depth = next((d for d in _depths(scaling, said) if scaling.fits_depth(counts, d)), None)
    capped = _width(scaling, channels, said)
    if depth is None or capped is None or not _in_proportion(units, kernels, channels):
        return None
    width, cap = capped
    multiples = Multiples(
        width=None if width == scaling.width else width,
        depth=None if depth == scaling.depth else depth,
        max_channels=None if cap == scaling.max_channels else cap,
    )
    return _network(network, at, kernels, multiples, counts, units) if any(multiples) else None


def _renamed(network: Network, at: int) -> Scaling | None:
    """The network's scaling with the keys of one of its namings."""
    scaling = network.scaling
    if scaling is None or at == 0:
        return scaling
    pairs = list(zip(network.kernels, network.namings[at].kernels, strict=False))
    if len(pairs) != len(network.kernels):
        return None
    names = dict(pairs)
    lists = {list_of(link(a)[0]): list_of(link(b)[0]) for a, b in pairs}
    return dataclasses.replace(
        scaling,
        channels={names[key]: base for key, base in scaling.channels.items()},
        units={lists[key]: base for key, base in scaling.units.items()},
        hidden={lists[key]: base for key, base in scaling.hidden.items()},
    )


def _units(groups: Groups, kernels: Kernels, scaling: Scaling | None) -> tuple[dict[str, int], Groups] | None:
    """How many units each list has, and the kernels of the file by the network's names; `None` if some are missing."""
    own = _grouped(kernels.items())
    counts: dict[str, int] = {}
    units: dict[str, Mapping[int | None, Shape]] = {}
    for bare, wanted in own.items() if scaling else ():
        group = next((groups[name] for name in folded_keys(bare) if name in groups), {})
        at = list_of(bare)
        if scaling and at in scaling.units:
            complete = group.keys() == set(range(counts.setdefault(at, len(group))))
            complete = complete and bool(group or scaling.hidden[at])
        else:
            complete = group.keys() == wanted.keys()
        side = next(iter(wanted.values()))[2:]
        if not complete or any(found[2:] != side for found in group.values()):
            return None
        units[bare] = group
    return (counts, units) if scaling else None


def _depths(scaling: Scaling, said: tuple[_Said, ...]) -> Iterator[float]:
    """Depths in the order in which they are preferred."""
    yield scaling.depth
    yield from (each.depth for each in said)
    yield from _PUBLISHED_DEPTHS
    for digits in (10, 100, 1000):
        yield from (number / digits for number in range(1, 3 * digits + 1))


def _width(scaling: Scaling, channels: Mapping[str, int], said: tuple[_Said, ...]) -> tuple[float, int] | None:
    """The width and the cap at which kernels have so many output channels; `None` if there are none."""
    rows = [(base, channels[key]) for key, base in scaling.channels.items() if key in channels]
    if not rows:
        return None
    scaling = dataclasses.replace(scaling, channels={key: scaling.channels[key] for key in channels})
    top = max(base for base, _ in rows)
    least, found = min(rows)
    low, high = (found - _ROUNDING) / least, (found + 1) / least
    caps = [scaling.max_channels, *(each.max_channels for each in said), *range(top // 64 * 64, 63, -64)]
    widths = [scaling.width, *(each.width for each in said), *_widths(max(low, 0), high)]
    tried = ((width, cap) for cap in dict.fromkeys(caps) for width in widths)
    return next((pair for pair in tried if scaling.fits_width(channels, *pair)), None)


def _widths(low: float, high: float) -> Iterator[float]:
    """Sixteenths, then numbers of up to four digits after the point, those with few digits first."""
    for parts in (16, 10, 100, 1000, 10_000):
        yield from (number / parts for number in range(max(int(low * parts), 1), int(high * parts) + 2))


def _in_proportion(units: Groups, kernels: Kernels, channels: Mapping[str, int]) -> bool:
    """Whether all kernels have about so many times the network's output channels as those in `channels`."""
    ratios = [found / kernels[key][0] for key, found in channels.items()]
    own = {link(key)[0]: shape[0] for key, shape in kernels.items()}
    low, high = min(ratios), max(ratios)
    return all(
        low * own[bare] - _ROUNDING <= shape[0] <= high * own[bare] + _ROUNDING
        for bare, group in units.items()
        for shape in group.values()
    )


def _network(
    network: Network, at: int, kernels: Kernels, multiples: Multiples, counts: Mapping[str, int], units: Groups
) -> Network:
    """What the table would say of a network with such multiples."""
    found = {}
    for key, shape in kernels.items():
        bare = link(key)[0]
        for place, measured in units[bare].items():
            into = shape[1] if key in network.stems else measured[1]
            found[bare.replace("*", str(place), 1)] = (measured[0], into, *measured[2:])
    naming = network.namings[at]
    activations = expanded(naming.activations, counts)
    layers = expanded(network.layers, counts)
    return dataclasses.replace(
        network,
        name=f"{network.name}{multiples}",
        namings=(Naming(found, activations, naming.context),),
        layers=layers,
        multiples=multiples,
    )


def _best(found: Iterable[Network]) -> list[Network]:
    """Of every family and release the simplest, of those with the most kernels."""
    everything = list(found)
    most = max((len(network.kernels) for network in everything), default=0)
    best: dict[tuple[str, str], Network] = {}
    for network in everything:
        if len(network.kernels) == most:
            key = network.family, network.release
            best[key] = min(best.get(key, network), network, key=_simplicity)
    return list(best.values())


def _simplicity(network: Network) -> tuple[int, bool, float]:
    """Few multiples first, then the widest size that is not wider than the file."""
    own = network.scaling.width if network.scaling else 1.0
    width = network.multiples.width or own
    return len(network.multiples.given()), own > width, abs(own - width)
