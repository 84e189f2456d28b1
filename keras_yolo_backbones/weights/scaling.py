"""What the table of networks says of how a network follows from its multiples, measured on networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.families.frame.scale import Scale
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.multiples import Multiples
from keras_yolo_backbones.registry import Variant, create, find
from keras_yolo_backbones.weights.mapping import original_shapes
from keras_yolo_backbones.weights.recognition.scaling import NO_CAP, RULES, Scaling, counted, repeats

_WIDTHS = (0.07, 0.11, 0.13, 0.17, 0.21, 0.24, 0.29, 0.33)
"""At which the channels of a kernel are looked at; attention does not divide at some of them."""

_CAPS = (1024, 512, 256)
_DEPTHS = (1.0, 0.21, 0.33, 0.5, 0.67, 1.33)

Shapes = Mapping[str, tuple[int, ...]]

_known: dict[str, Scaling] = {}


def measured_scaling(variant: Variant) -> Scaling | None:
    """How the kernels of a network follow from its multiples; `None` if it has none. Builds networks like it."""
    spec = variant.spec
    if not isinstance(spec, Scale):
        return None
    alike = f"{variant.family.name} {variant.release} {dataclasses.replace(spec, width=1, depth=1, max_channels=1)}"
    if alike not in _known:
        _known[alike] = _measured(variant.name, spec)
    return dataclasses.replace(_known[alike], width=spec.width, depth=spec.depth, max_channels=spec.max_channels)


def _measured(name: str, spec: Scale) -> Scaling:
    rule = next(rule for rule in RULES if _rounds(spec, rule))
    tried = [(width, NO_CAP) for width in (1.0, *_WIDTHS)] + [(0.125, cap) for cap in _CAPS]
    built = [(width, cap, _shapes(name, Multiples(width, 0.01, cap))) for width, cap in tried]
    deep = [_shapes(name, Multiples(0.125, depth, NO_CAP)) for depth in _DEPTHS]
    built += [(0.125, NO_CAP, found) for found in deep]
    channels = {
        key: shape[0]
        for key, shape in built[0][2].items()
        if all(found[key][0] == RULES[rule](min(shape[0], cap), width) for width, cap, found in built if key in found)
    }
    units = {at: found for at in counted(deep[0]) if (found := _units([counted(shapes) for shapes in deep], at))}
    own, hidden = ({at: found[i] for at, found in units.items()} for i in (0, 1))
    return Scaling(spec.width, spec.depth, spec.max_channels, rule, channels, own, hidden)


def _rounds(spec: Scale, rule: str) -> bool:
    """Whether channels are rounded by a rule."""
    scaled = {width: dataclasses.replace(spec, width=width, max_channels=NO_CAP) for width in _WIDTHS}
    return all(
        scale.channels(base) == RULES[rule](base, width)
        for width, scale in scaled.items()
        for base in (64, 128, 256, 512, 1024)
    )


def _units(counts: Sequence[Mapping[str, int]], at: str) -> tuple[int, int] | None:
    """How many units a list has at depth 1, and how many are not in it; `None` if no rule says it."""
    for hidden in (0, 1):
        base = counts[0][at] + hidden
        if all(repeats(base, d) - hidden == count.get(at, 0) for d, count in zip(_DEPTHS, counts, strict=True)):
            return base, hidden
    return None


def _shapes(name: str, multiples: Multiples) -> Shapes:
    """Kernels of a network with multiples, under the keys of its release; none if it cannot be built with them."""
    variant = find(f"{name}{multiples}")
    side = 2 ** max(6, variant.spec.top)
    try:
        with without_values():
            model = create(variant.name, input_shape=(side, side, 3))
    except ArgumentError:
        return {}
    layout = variant.published.layout(variant.spec)
    return {key: shape for key, shape in original_shapes(model, layout).items() if len(shape) == 4}
