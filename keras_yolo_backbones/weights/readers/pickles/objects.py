"""The opcodes that fill containers and make objects: here calls become stubs."""

from __future__ import annotations

from typing import Any

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.pickles.machine import Machine
from keras_yolo_backbones.weights.readers.pickles.values import Built, Global, PickleError, Stub
from keras_yolo_backbones.weights.readers.tensors import Tensor

_MAX_KEY = 1000

_DICTS = ("OrderedDict", "defaultdict", "Counter")
_LISTS = ("set", "frozenset", "deque")

_FORBIDDEN = frozenset({"__class__", "__dict__", "__reduce__", "__reduce_ex__", "__setstate__", "__getattribute__"})
"""Attributes that say what an object is and does; no instance has them as its own."""


def append(machine: Machine) -> None:
    """One value into the list below it."""
    _extend(machine, [machine.pop()])


def extend(machine: Machine) -> None:
    """The values since the mark into the list below it."""
    _extend(machine, machine.since_mark())


def _extend(machine: Machine, values: list[Any]) -> None:
    target = machine.top((list, Stub), "appends to")
    if isinstance(target, list):
        target.extend(values)


def set_item(machine: Machine) -> None:
    """A key and a value into the dict below them."""
    value, key = machine.pop(), machine.pop()
    _update(machine, [key, value])


def set_items(machine: Machine) -> None:
    """The keys and values since the mark into the dict below it."""
    _update(machine, machine.since_mark())


def _update(machine: Machine, pairs: list[Any]) -> None:
    target = machine.top((dict, Stub), "sets an item of")
    if len(pairs) % 2:
        raise PickleError("sets a key without a value")
    if isinstance(target, Stub):
        target.items = {} if target.items is None else target.items
        target = target.items
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        text = key_of(key)
        if text is not None:
            target[text] = value


def key_of(key: Any) -> str | None:
    """A dict's key as text; `None` if the entry is left out, for no tensor has such a key.

    Only text is ever hashed: Python's hashes of numbers and tuples can be made to collide, those of text cannot.
    """
    if isinstance(key, str):
        return key if len(key) <= _MAX_KEY else None
    if isinstance(key, bytes):
        return key.decode("latin1") if len(key) <= _MAX_KEY else None
    return str(key) if key is None or isinstance(key, (int, float)) else None


def reduce(machine: Machine) -> None:
    """A call."""
    arguments, called = machine.pop(), machine.pop()
    if not isinstance(called, (Global, Stub)) or not isinstance(arguments, tuple):
        raise PickleError("calls something that is no named function")
    function = machine.functions.get(str(called)) if isinstance(called, Global) else None
    machine.push(function(*arguments) if function else _instance(machine, called, arguments))


def new(machine: Machine) -> None:
    """An instance without its attributes."""
    arguments, called = machine.pop(), machine.pop()
    if not isinstance(called, (Global, Stub)) or not isinstance(arguments, tuple):
        raise PickleError("makes an instance of something that is no named class")
    machine.push(_instance(machine, called, arguments))


def new_with_keywords(machine: Machine) -> None:
    """The same with keyword arguments, which are dropped."""
    machine.pop()
    new(machine)


def _instance(machine: Machine, called: Global | Stub, arguments: tuple[Any, ...]) -> Any:
    if isinstance(called, Stub):
        return Stub(called.made_by, arguments)
    first = arguments[0] if arguments else None
    if called.module == "collections" and called.name in _DICTS:
        return _filled(machine, first)
    if called.name in _LISTS and called.module in ("collections", "builtins", "__builtin__"):
        # A set as the list it was made of: its values may not be hashable any more.
        return first if isinstance(first, list) else []
    if called.name == "_reconstructor" and isinstance(first, Global):  # how Python 2 makes instances
        return Stub(first)
    return Stub(called, arguments)


def _filled(machine: Machine, pairs: Any) -> dict[Any, Any]:
    """The dict that Python 2 writes as a list of pairs."""
    found = {}
    if isinstance(pairs, list):
        machine.budget.spend(len(pairs))
        for pair in pairs:
            key = key_of(pair[0]) if isinstance(pair, (list, tuple)) and len(pair) == 2 else None
            if key is not None:
                found[key] = pair[1]
    return found


def build(machine: Machine) -> None:
    """Attributes of the instance below them."""
    state = machine.pop()
    target = machine.top((Stub, dict, list, Built, Tensor), "sets attributes of")
    if isinstance(target, Built):
        target.build(state)
        return
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        if isinstance(part, dict):
            machine.budget.spend(len(part))
            _check_attributes(part)
            if isinstance(target, Stub):
                _set(machine, target, part)


def _set(machine: Machine, target: Stub, part: dict[Any, Any]) -> None:
    if target.state is None:
        target.state = part
    else:
        machine.budget.spend(len(target.state))
        target.state = {**target.state, **part}


def _check_attributes(part: dict[Any, Any]) -> None:
    for key in _FORBIDDEN:
        if key in part:
            raise PickleError(f"sets the attribute {shown(key)!r}")
