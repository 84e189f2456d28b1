"""Finding the state dict in what a checkpoint's pickle holds: plain, wrapped, or as a whole model of stubs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.budget import Budget
from keras_yolo_backbones.weights.readers.claims import claims
from keras_yolo_backbones.weights.readers.facts import Facts, of_shapes
from keras_yolo_backbones.weights.readers.keys import cleaned
from keras_yolo_backbones.weights.readers.modules import Module, read_module
from keras_yolo_backbones.weights.readers.numpy_arrays import NumpyArray
from keras_yolo_backbones.weights.readers.pickles.values import PickleError, Stub, Unreadable, as_dict
from keras_yolo_backbones.weights.readers.tensors import Tensor

_AVERAGED = ("ema", "ema_net", "ema_model", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema")
_TRAINED = ("model", "net", "state_dict", "model_state_dict", "module", "network", "weights", "params", "checkpoint")
WRAPPERS = (*_AVERAGED, *_TRAINED)
"""Keys under which checkpoints keep their weights, the preferred one first: averaged weights are better."""

_SWAPPED = ("state_dict", "ema_state_dict")
"""Where both are, as mmengine writes them, the first one is the averaged one: it swaps the two on saving."""

_MAX_DEPTH = 4
_MAX_ITEMS = 100
"""Of a list or tuple, how many values may be a state dict."""


class Found(NamedTuple):
    """The state dict of a checkpoint.

    Attributes:
        tensors: state-dict key -> tensor.
        part: where in the checkpoint they were: `"ema"`, `"model"`, `"0.model"`; "" for the whole.
        facts: what the checkpoint says of the network.
    """

    tensors: dict[str, Tensor]
    part: str
    facts: Facts


def state_dict(content: Any, budget: Budget) -> Found:
    """The tensors of a checkpoint by state-dict key, where they were found, and what the checkpoint says of itself.

    Args:
        content: what `interpret` returned.
        budget: of the file.

    Raises:
        PickleError: there are no tensors in any of the known places.
    """
    place = next(_places(content, budget), None)
    if place is None:
        raise PickleError(f"holds no state dict and no model{_holds(content)}")
    path, module, value = place
    module, lightning = cleaned(module)
    root = value if isinstance(value, Stub) else _network_beside(content)
    if root is not None and root is not value:
        beside, _ = cleaned(read_module(root, budget))
        module = Module(module.tensors, beside.activations, beside.epsilons)
    averaged = lightning or any(key in _AVERAGED for key in path) or _is_swapped(content, path)
    stated = claims(content, root) | of_shapes({key: tensor.shape for key, tensor in module.tensors.items()})
    facts = Facts(module.activations, module.epsilons, averaged=averaged, **stated)
    return Found(module.tensors, ".".join(path), facts)


def _places(value: Any, budget: Budget, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Module, Any]]:
    """Every place that holds tensors, the preferred one first: keys to it, what was found, and the value there."""
    budget.spend()
    if len(path) < _MAX_DEPTH and not _is_module(value):
        for key, inner in _wrapped(value):
            yield from _places(inner, budget, (*path, key))
    found = _tensors(value, budget)
    if found.tensors:
        yield path, found, value


def _wrapped(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value may wrap a state dict in. A key that holds none is passed over by the caller."""
    if isinstance(value, (list, tuple)) and not isinstance(value, Tensor):
        yield from ((str(index), inner) for index, inner in enumerate(value[:_MAX_ITEMS]))
        return
    items = as_dict(value) or (value.state if isinstance(value, Stub) else None) or {}
    wrappers = [key for key in WRAPPERS if items.get(key) is not None]
    if set(_SWAPPED) <= set(wrappers):
        wrappers.remove("ema_state_dict")
    yield from ((key, items[key]) for key in wrappers)


def _network_beside(content: Any) -> Stub | None:
    """A whole model beside averaged tensors: it says what both of them are."""
    return next((value for _, value in _wrapped(content) if _is_module(value)), None)


def _is_module(value: Any) -> bool:
    return isinstance(value, Stub) and isinstance(value.attribute("_modules"), dict)


def _is_swapped(content: Any, path: tuple[str, ...]) -> bool:
    return path == _SWAPPED[:1] and set(_SWAPPED) <= set(as_dict(content))


def _tensors(value: Any, budget: Budget) -> Module:
    """The tensors of a plain state dict or of a pickled module; nothing if it is neither."""
    if _is_module(value):
        return read_module(value, budget)
    found = Module()
    items = as_dict(value)
    budget.spend(len(items))
    for key, item in items.items():
        tensor = as_tensor(key, item)
        if tensor is not None:
            found.tensors[key] = tensor
    return found


def as_tensor(key: str, value: Any) -> Tensor | None:
    """A value of a state dict as a tensor; `None` if it is something else.

    Raises:
        PickleError: it is a tensor of a kind that is not read.
    """
    if (
        isinstance(value, tuple)
        and not isinstance(value, Tensor)
        and len(value) == 2
        and isinstance(value[1], NumpyArray)
    ):
        value = value[1]  # Paddle's (name, array)
    if isinstance(value, NumpyArray):
        value = value.tensor
    if isinstance(value, Unreadable):
        raise PickleError(f"holds {shown(key)!r}, which {value.reason}")
    return value if isinstance(value, Tensor) else None


def _holds(content: Any) -> str:
    """The keys of a checkpoint that was not understood, for the error."""
    keys = [shown(key, 30) for key, _ in zip(as_dict(content), range(8), strict=False)]
    return f": its keys are {', '.join(keys)}" if keys else ""
