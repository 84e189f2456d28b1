"""Whether a model computes what the network did whose weights it gets: activations, context block, epsilon."""

from __future__ import annotations

import math
from collections.abc import Mapping

import keras

from keras_yolo_backbones.families import Layout
from keras_yolo_backbones.registry import find
from keras_yolo_backbones.weights.activations import activations
from keras_yolo_backbones.weights.layouts import layout_of
from keras_yolo_backbones.weights.mapping import original_module
from keras_yolo_backbones.weights.recognition.networks import Network
from keras_yolo_backbones.weights.recognition.trained import LINEAR, Trained, builder_call, summary
from keras_yolo_backbones.weights.slots import some


def of_model(model: keras.Model, network: Network) -> Trained:
    """What a model of the network has."""
    layout = layout_of(find(network.name))
    return summary(network, network.namings[0], _activations(model, layout), _epsilons(model, layout))


def differences(model: keras.Model, layout: Layout | None, modules: Mapping[str, str], epsilon: float | None) -> str:
    """What the model has that its weights were not trained with, in words; "" if nothing.

    Args:
        model: a backbone, or a model that has one in it.
        layout: of the original's modules; `None` if the modules are named as ours.
        modules: the original's module -> the activation that it was trained with, as far as it is known.
        epsilon: of the batch norms; `None` if they are folded away, or if it is not known.
    """
    own = _activations(model, layout) if layout else activations(model)
    pairs: dict[tuple[str, str], list[str]] = {}
    for module, activation in modules.items():
        if own.get(module, activation) != activation:
            pairs.setdefault((activation, own[module]), []).append(module)
    said = [_pair(trained, here, at) for (trained, here), at in pairs.items()]
    epsilons = set(_epsilons(model, layout).values()) if layout else set()
    if epsilon is not None and any(not math.isclose(epsilon, found) for found in epsilons):
        said.append(f"batch norm epsilon {epsilon:g}, the model has {', '.join(f'{e:g}' for e in sorted(epsilons))}")
    return "; ".join(said)


def _pair(activation: str, own: str, modules: list[str]) -> str:
    if activation == LINEAR:
        return f"no activation in {some(modules, 3)}, the model has {own} there"
    where = f" in {some(modules, 3)}" if len(modules) < 4 else ""
    return f"{activation}{where}, the model has {'none' if own == LINEAR else own}"


def how_to_build(network: Network, trained: Trained, channels: int) -> str:
    """What to do, in words: the call, and the arguments of the command line."""
    if trained.odd:
        return f"no option of the builders brings what {some(trained.odd, 3)} had"
    options = trained.options(network)
    base = network.name.removesuffix(str(network.multiples))
    shell = [base, *(f"--{name.replace('_', '-')} {value}" for name, value in network.multiples.given().items())]
    shell += [f"--activation {options['activation']}"] if "activation" in options else []
    shell += ["--linear-spp"] if "spp" in options else []
    shell += [f"--epsilon {options['epsilon']:g}"] if "epsilon" in options else []
    return f"build {builder_call(network, options, channels)}, in a shell {' '.join(shell)}"


def _activations(model: keras.Model, layout: Layout) -> dict[str, str]:
    found = {original_module(module, layout): name for module, name in activations(model).items()}
    return {module: name for module, name in found.items() if module is not None}


def _epsilons(model: keras.Model, layout: Layout) -> dict[str, float]:
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    found = {}
    for norm in norms:
        module, _, leaf = norm.name.rpartition(".")
        original = original_module(module, layout) if module else None
        if original is not None:
            found[f"{original}.{leaf}"] = norm.epsilon
    return found
