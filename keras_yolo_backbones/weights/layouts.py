"""Where the known files of a network keep their tensors, and what of that goes into the table of networks."""

from __future__ import annotations

import functools
from collections.abc import Container

import keras

from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.registry import Variant, create, find
from keras_yolo_backbones.weights.activations import activations
from keras_yolo_backbones.weights.mapping import original_module, original_shapes, slots
from keras_yolo_backbones.weights.recognition.networks import COLOURS, Naming, Network, networks
from keras_yolo_backbones.weights.slots import Slot

CONTEXT = "spp.cv1"
"""Our name of the first conv of an SPP or SPPF."""


def layout_of(variant: Variant) -> Layout:
    """Where the checkpoints of a network's release keep their tensors."""
    return layouts_of(variant)[0]


def layouts_of(variant: Variant) -> list[Layout]:
    """The same for all known files of a network, those of its release first."""
    return [variant.published.layout(variant.spec), *variant.published.other_layouts(variant.spec)]


def layout_for(variant: Variant, keys: Container[str]) -> Layout:
    """The layout of a file with these state-dict keys, see `Network.naming`."""
    return layouts_of(variant)[network_of(variant).naming(keys)]


def network_of(variant: Variant) -> Network:
    """What is known of a network: from the table, or measured if the user gave it multiples of his own."""
    return networks().get(variant.name) or _measured(variant.name)


def measured(name: str) -> Network:
    """What the table of networks says of one, from the network itself: builds it."""
    variant = find(name)
    side = 2 ** max(6, variant.spec.top)
    with without_values():
        model = create(name, input_shape=(side, side, COLOURS))
    layouts = layouts_of(variant)
    has_linear = variant.size in variant.published.linear_spp
    namings = [_naming(model, found, original_module(CONTEXT, found) or "" if has_linear else "") for found in layouts]
    return Network(
        name,
        variant.family.name,
        variant.release,
        variant.size,
        variant.published.style.epsilon,
        variant.published.origin.weights_licence,
        tuple(namings),
        {slot.path.removesuffix(".kernel"): slot.key for slot in slots(model, layouts[0])[0] if _is_whole_kernel(slot)},
        next(layer.name for layer in model.layers if hasattr(layer, "kernel")),
        multiples=variant.multiples,
    )


@functools.cache
def _measured(name: str) -> Network:
    return measured(name)


def _naming(model: keras.Model, layout: Layout, context: str) -> Naming:
    shapes = original_shapes(model, layout)
    found = {original_module(module, layout): name for module, name in activations(model).items()}
    return Naming(
        {key: shape for key, shape in shapes.items() if len(shape) == 4},
        {module: name for module, name in found.items() if module is not None},
        context,
    )


def _is_whole_kernel(slot: Slot) -> bool:
    return slot.whole and len(slot.torch_shape) == 4
