"""What weights were trained with, as far as it changes what they compute, and how to build the network for them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from keras_yolo_backbones.weights.readers.facts import Facts
from keras_yolo_backbones.weights.recognition.networks import COLOURS, Naming, Network

LINEAR = "linear"
"""The name of no activation at all."""


class Trained(NamedTuple):
    """What the network had whose weights these are.

    Attributes:
        activation: its name; all of them, joined by ", ", if the network was published with several.
        linear_spp: the first conv of its SPP or SPPF had no activation, as with the builders' `spp="linear"`.
        epsilon: of its batch norms.
        stated: the file says so. Otherwise it is assumed as published.
        odd: modules with an activation or an epsilon that no option of the builders brings.
    """

    activation: str
    linear_spp: bool
    epsilon: float
    stated: bool = True
    odd: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Such as `"silu, none in the first conv of the SPP, epsilon 0.001"`."""
        context = ", none in the first conv of the SPP" if self.linear_spp else ""
        return f"{self.activation}{context}, epsilon {self.epsilon:g}"

    def modules(self, naming: Naming) -> dict[str, str]:
        """The activation of every module of a network that was trained so."""
        own = self.activation == _joined(naming.activations.values())
        found = {m: a if own or a == LINEAR else self.activation for m, a in naming.activations.items()}
        if self.linear_spp and naming.context:
            found[naming.context] = LINEAR
        return found

    def as_data(self) -> dict[str, Any]:
        """The fields of `Provenance` that say it; `parse` reads them."""
        return {
            "activation": self.activation,
            "linear_spp": self.linear_spp,
            "epsilon": self.epsilon,
            "assumed": not self.stated,
        }

    def options(self, network: Network) -> dict[str, Any]:
        """The builder's options for it, those that are not the defaults."""
        found: dict[str, Any] = {}
        if self.activation != published(network).activation:
            found["activation"] = self.activation
        if self.linear_spp:
            found["spp"] = LINEAR
        if self.epsilon != network.epsilon:
            found["epsilon"] = self.epsilon
        return found


def published(network: Network) -> Trained:
    """What the published weights of a network were trained with."""
    return Trained(_joined(network.namings[0].activations.values()), False, network.epsilon, stated=False)


def summary(network: Network, naming: Naming, activations: Mapping[str, str], epsilons: Mapping[str, float]) -> Trained:
    """The same from the activations and epsilons of the modules of a file or of a model.

    Args:
        network: which it is.
        naming: of the modules.
        activations: module -> name of its activation. Modules outside the backbone are passed over.
        epsilons: batch norm -> epsilon. None at all means that the epsilon is as published.
    """
    found = {module: activations[module] for module in naming.activations if module in activations}
    active = {m: a for m, a in found.items() if naming.activations[m] != LINEAR and m != naming.context}
    own = _joined(naming.activations.values())
    alike = all(naming.activations[module] == activation for module, activation in active.items())
    activation = own if alike else Counter(active.values()).most_common(1)[0][0]
    linear = found.get(naming.context) == LINEAR
    expected = Trained(activation, linear, 0.0).modules(naming)
    odd = [module for module in found if found[module] != expected[module]]
    inside = {norm: epsilon for norm, epsilon in epsilons.items() if norm.rpartition(".")[0] in naming.activations}
    epsilon = Counter(inside.values()).most_common(1)[0][0] if inside else network.epsilon
    odd += [norm for norm in inside if inside[norm] != epsilon]
    return Trained(activation, linear, epsilon, bool(found), tuple(odd))


def parse(text: str) -> Trained | None:
    """What `as_data` wrote, as JSON and perhaps among other things; `None` for anything else: a stranger wrote it."""
    try:
        found = json.loads(text)
        activation, linear, epsilon = found["activation"], found["linear_spp"], found["epsilon"]
        assumed = found["assumed"]
    except (TypeError, ValueError, KeyError, RecursionError):
        return None
    if not (isinstance(activation, str) and 0 < len(activation) < 100 and activation.isprintable()):
        return None
    if not (isinstance(linear, bool) and isinstance(assumed, bool) and isinstance(epsilon, float) and 0 < epsilon < 1):
        return None
    return Trained(activation, linear, epsilon, not assumed)


def of_file(network: Network, naming: Naming, facts: Facts) -> Trained:
    """What a file says its weights were trained with, or else what is assumed."""
    if not any(module in facts.activations for module in naming.activations):
        return published(network)
    return summary(network, naming, facts.activations, facts.epsilons)


def builder_call(network: Network, options: Mapping[str, Any], channels: int = COLOURS) -> str:
    """The line of Python that builds a network: `kyb.v8("n", activation="relu6")`."""
    if channels not in (0, COLOURS):
        options = {**options, "input_shape": (640, 640, channels)}
    default = f"{network.family}-{network.size}{network.multiples}"
    release = {"release": network.release} if network.name != default else {}
    said = {**release, **network.multiples.given(), **options}
    words = [f'"{network.size}"', *(f"{key}={_literal(value)}" for key, value in said.items())]
    return f"kyb.{network.family}({', '.join(words)})"


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else repr(value)


def _joined(activations: Any) -> str:
    """The names of the activations that occur, the most frequent first."""
    return ", ".join(name for name, _ in Counter(a for a in activations if a != LINEAR).most_common())
