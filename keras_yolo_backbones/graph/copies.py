"""Copies of layers: the one helper that every pass uses, and the memo that gives each layer one copy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_yolo_backbones.errors import GraphError
from keras_yolo_backbones.fragile import toolbox_of


def unbuilt_copy(layer: Any, kind: Any = None, *, config: Any = None, dtype: Any = None, **changes: Any) -> Any:
    """A copy of a layer or operation without its weights.

    Args:
        layer: left untouched.
        kind: the type of the copy, the layer's own by default.
        config: what the copy is made from, the layer's own config by default.
        dtype: a dtype policy for the copy, if its config has one.
        **changes: entries of the config that differ in the copy.

    Raises:
        GraphError: the layer cannot be built from its config.
    """
    try:
        config = (config or layer.get_config()) | changes
        if dtype is not None and "dtype" in config:
            config["dtype"] = dtype
        return (kind or type(layer)).from_config(config)
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise GraphError(
            f"layer {layer.name!r} ({type(layer).__name__}) cannot be rebuilt from its config; a layer of your own "
            f"needs a get_config() with all arguments of its __init__. Keras says: {reason}"
        ) from error


def is_known(layer: Any) -> bool:
    """Whether a layer is one of Keras' or of this package's own."""
    return toolbox_of(layer) in ("keras", "keras_yolo_backbones")


@contextlib.contextmanager
def undrawn(layer: Any) -> Iterator[None]:
    """Let the weights that a layer makes in the block be zeros: its own initial values are drawn, which takes time, and
    those of a copy are then overwritten.

    Args:
        layer: a layer or operation; its initializers are its own again after the block. Nothing changes for one that is
            neither Keras' nor this package's: it may ask its initializers for more than weights.
    """
    initializers: dict[str, Any] = {}
    if is_known(layer) and not getattr(layer, "built", True):
        initializers = {name: v for name, v in vars(layer).items() if isinstance(v, keras.initializers.Initializer)}
    for name in initializers:
        setattr(layer, name, keras.initializers.Zeros())
    try:
        yield
    finally:
        for name, initializer in initializers.items():
            setattr(layer, name, initializer)


def copied(layer: Any, kind: Any = None, *, weights: Any = None, config: Any = None, **changes: Any) -> Any:
    """A copy of a layer or operation, with the layer's own weights if no others are given.

    Args:
        layer: a layer that some model calls; left untouched.
        kind: the type of the copy, the layer's own by default.
        weights: arrays, in the order of `get_weights`.
        config: what the copy is made from, the layer's own config by default.
        **changes: entries of the config that differ in the copy.
    """
    copy = unbuilt_copy(layer, kind, config=config, **changes)
    if isinstance(layer, keras.Layer) and layer.weights:
        with undrawn(copy):
            copy.build([t.shape for t in layer.input] if isinstance(layer.input, list) else layer.input.shape)
        give_weights(copy, layer.get_weights() if weights is None else weights)
    return copy


def give_weights(layer: keras.Layer, weights: list[Any]) -> None:
    """`set_weights`, and what an adapted layer (`Normalization`) then makes of them."""
    layer.set_weights(weights)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


class OnePerLayer:
    """What a pass makes of each layer: made at the layer's first call, found again at its others."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}

    def __call__(self, layer: Any, make: Callable[[], Any]) -> Any:
        """What was made of `layer` before, or `make()`."""
        if id(layer) not in self._made:
            self._made[id(layer)] = layer, make()
        return self._made[id(layer)][1]

    @property
    def pairs(self) -> list[tuple[Any, Any]]:
        """(layer, what was made of it), in the order of their first calls."""
        return list(self._made.values())
