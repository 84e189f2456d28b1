"""Which network a Keras model is."""

from __future__ import annotations

from collections.abc import Mapping

import keras

from keras_yolo_backbones.arguments import is_functional
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.multiples import Multiples
from keras_yolo_backbones.registry import create
from keras_yolo_backbones.weights.recognition.identify import of_layers
from keras_yolo_backbones.weights.recognition.networks import networks
from keras_yolo_backbones.weights.recognition.rescaled import rescaled_layers

_TELLING_LAYER = "spp.add"
"""A layer without weights that only YOLO26 has; its kernels are those of YOLO11."""


def recognise_model(model: keras.Model) -> tuple[str, ...]:
    """Registry names of the networks that `model` may be, whatever it is called; none if it is foreign."""
    shapes = {f"{layer.name}/0": tuple(layer.weights[0].shape) for layer in model.layers if layer.weights}
    if model.name in of_layers(shapes, only=model.name)[0]:
        return (model.name,)
    base, multiples = Multiples.of(model.name)
    if base in networks() and any(multiples) and _is(model, model.name, shapes):
        return (model.name,)
    names, _ = of_layers(shapes)
    found = [networks()[name] for name in names]
    if not found:
        found = [network for network in rescaled_layers(shapes) if _is(model, network.name, shapes)]
    telling = any(layer.name == _TELLING_LAYER for layer in model.layers)
    told = [network for network in found if (network.family == "v26") == telling]
    return tuple(network.name for network in told or found)


def backbone_in(model: keras.Model) -> keras.Model:
    """`model` itself; or the one model in it, if it only calls that on a tensor (`input_tensor` with a `name`)."""
    inside = [layer for layer in model.layers if is_functional(layer)]
    weighted = [layer for layer in model.layers if layer.weights]
    return inside[0] if len(inside) == 1 and weighted == inside else model


def _is(model: keras.Model, name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the layers of `model` that are called like those of a network have the network's shapes."""
    with without_values():
        like = create(name, input_shape=(None, None, model.inputs[0].shape[-1]))
    wanted = {f"{layer.name}/0": tuple(layer.weights[0].shape) for layer in like.layers if layer.weights}
    shared = wanted.keys() & shapes.keys()
    return bool(shared) and all(wanted[key] == shapes[key] for key in shared)
