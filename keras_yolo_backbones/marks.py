"""A line of text that a layer carries in its config, so that it goes wherever the layer goes.

Keras makes new layers from configs: in `clone_model`, in pickles, in `.keras` files. A stock layer's config has no
room for a remark, with two exceptions. A convolution without bias has a constraint for its bias, which is never
called: the text is the `axis` of that. A layer with bias, as in fused models, has a random initializer for its kernel,
whose seed may be a generator's config: the text is an entry beside those that Keras reads. Files with them open in
Keras alone, and cloned and pickled layers have them too.

Layers with neither carry it beside their config, in the build config. A `.keras` file holds that, and `load_model` of
this package reads it back; a clone or a pickle loses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

KEY = "kyb_provenance"
"""The entry of a build config that holds the text."""

_CLASS, _FIELD = "MaxNorm", "axis"

_INITIALIZERS = ("kernel_initializer", "depthwise_initializer")

_SEED = {"module": "keras.random", "class_name": "SeedGenerator", "config": {"seed": None}, "registered_name": None}
"""The config of a generator that draws as an initializer without a seed does."""


def mark(layer: Any, text: str | None) -> None:
    """Let a layer carry `text`, or nothing for `None`. Layers that have no room for it stay as they are."""
    if _has_room(layer):
        from keras import constraints

        if text is not None:
            layer.bias_constraint = constraints.MaxNorm(**{_FIELD: text})
        elif marked(layer) is not None:
            layer.bias_constraint = None
    elif initializer := _seedless(layer):
        own = getattr(layer, initializer)
        seed = None if text is None else {**_SEED, KEY: text}
        setattr(layer, initializer, type(own).from_config({**own.get_config(), "seed": seed}))
    elif _has_stock_build(layer):
        vars(layer).pop("get_build_config", None)
        if text is not None:
            layer.get_build_config = lambda: {**(type(layer).get_build_config(layer) or {}), KEY: text}


def marked(layer: Any) -> str | None:
    """The text in a layer's config; `None` if there is none."""
    constraint = getattr(layer, "bias_constraint", None)
    text = getattr(constraint, _FIELD, None)
    if type(constraint).__name__ == _CLASS and isinstance(text, str):
        return text
    seeds = (_seed(getattr(layer, name, None)) for name in _INITIALIZERS)
    return next((seed[KEY] for seed in seeds if isinstance(seed, dict) and isinstance(seed.get(KEY), str)), None)


def unmarked(config: dict[str, Any]) -> dict[str, Any]:
    """A layer's config without the text: for a layer that is to have a bias, which such a constraint would break."""
    return {**config, "bias_constraint": None} if _in_constraint(config) else config


def texts(config: Any) -> Iterator[tuple[str, str]]:
    """(layer name, text) of all layers in the config of a model, at any depth, as `.keras` files hold it.

    Args:
        config: plain data from JSON, from anybody.
    """
    waiting = [config]
    while waiting:
        entry = waiting.pop()
        if isinstance(entry, list):
            waiting.extend(reversed(entry))
        elif isinstance(entry, dict):
            yield from _own_text(entry)
            waiting.extend(reversed(entry.values()))


def _own_text(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    config, build = entry.get("config"), entry.get("build_config")
    if not isinstance(config, dict):
        return
    text = _in_constraint(config) or _in_seed(config) or (build.get(KEY) if isinstance(build, dict) else None)
    if isinstance(text, str):
        yield str(config.get("name")), text


def _in_constraint(config: dict[str, Any]) -> str | None:
    constraint = config.get("bias_constraint")
    if not isinstance(constraint, dict) or constraint.get("class_name") != _CLASS:
        return None
    inner = constraint.get("config")
    text = inner.get(_FIELD) if isinstance(inner, dict) else None
    return text if isinstance(text, str) else None


def _in_seed(config: dict[str, Any]) -> str | None:
    for name in _INITIALIZERS:
        entry: Any = config
        for key in (name, "config", "seed", KEY):
            entry = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(entry, str):
            return entry
    return None


def _seed(initializer: Any) -> Any:
    """The seed in an initializer's config; "" if it has none."""
    from keras import initializers

    return initializer.get_config().get("seed", "") if isinstance(initializer, initializers.Initializer) else ""


def _seedless(layer: Any) -> str:
    """Which initializer of a built layer has room for a text: it is random, and has no seed of the user's; or ""."""
    for name in _INITIALIZERS:
        seed = _seed(getattr(layer, name, None))
        if seed is None or (isinstance(seed, dict) and KEY in seed):
            return name
    return ""


def _has_room(layer: Any) -> bool:
    """Whether the layer has no bias, and no constraint of the user's for one."""
    from keras import layers

    if not isinstance(layer, layers.Layer) or getattr(layer, "use_bias", None) is not False:
        return False
    constraint = getattr(layer, "bias_constraint", "none")
    ours = type(constraint).__name__ == _CLASS and isinstance(getattr(constraint, _FIELD, None), str)
    return constraint is None or ours


def _has_stock_build(layer: Any) -> bool:
    """Whether Keras' own `build_from_config` reads the layer's build config: it passes over entries that it lacks."""
    from keras import layers

    return getattr(type(layer), "build_from_config", None) is layers.Layer.build_from_config
