"""An optimizer whose learning rate has a factor for parts of the network: what is learned already should move less."""

from __future__ import annotations

import difflib

import keras

from keras_yolo_backbones.graph.select import fits


class StageRates(keras.optimizers.AdamW):
    """AdamW with a factor of the learning rate for layers by name.

        StageRates(1e-3, factors={"stem": 0.1, "stage*": 0.3, "stage5": 1.0})

    Args:
        learning_rate: as in Keras.
        factors: layer -> factor. Names are as for `kyb.freeze`: `"stage4"` means all of `"stage4.…"` too, `*` and `?`
            are wildcards. Of those that fit a layer the last counts; other layers have 1. Weight decay has no factor.
        options: of AdamW.

    Raises:
        ValueError: a factor is negative, or (when training starts) no layer is called so.
    """

    def __init__(self, learning_rate=1e-3, *, factors: dict[str, float], **options):
        super().__init__(learning_rate, **options)
        self.factors = dict(factors)
        for name, value in self.factors.items():
            if not value >= 0:
                raise ValueError(f"factors: {name!r} has {value}; expected 0 or more.")

    def build(self, variables) -> None:
        """Look up the factor of every variable."""
        super().build(variables)
        layers = [variable.path.split("/") for variable in variables]
        for name in self.factors:
            if not any(_fits(parts, name) for parts in layers):
                called = [part for parts in layers for part in parts[:-1]]
                near = difflib.get_close_matches(name, called, n=1, cutoff=0) or called[:1]
                raise ValueError(f"factors: no layer that trains is called {name!r}; the nearest is {near[0]!r}.")
        self._rates = [
            next((factor for name, factor in reversed(self.factors.items()) if _fits(parts, name)), 1.0)
            for parts in layers
        ]

    def update_step(self, gradient, variable, learning_rate) -> None:
        """AdamW's step of one variable, with its own rate."""
        super().update_step(gradient, variable, learning_rate * self._rates[self._get_variable_index(variable)])

    def get_config(self) -> dict:
        """What makes the same optimizer again."""
        return super().get_config() | {"factors": self.factors}


def factor(text: str) -> tuple[str, float]:
    """`stage*=0.3` -> ("stage*", 0.3)."""
    name, _, value = text.rpartition("=")
    return name, float(value)


def _fits(parts: list[str], name: str) -> bool:
    """Whether one of the layers in a variable's path is called so."""
    return any(fits(part, name) for part in parts[:-1])
