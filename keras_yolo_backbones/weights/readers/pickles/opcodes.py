"""What each opcode does that a harmless pickle of protocol 2 to 5 has."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable
from typing import Any

from keras_yolo_backbones.weights.readers.feed import Span
from keras_yolo_backbones.weights.readers.pickles import objects
from keras_yolo_backbones.weights.readers.pickles.machine import Machine
from keras_yolo_backbones.weights.readers.pickles.names import named
from keras_yolo_backbones.weights.readers.pickles.values import PickleError

Handler = Callable[[Machine], None]

_MAX_LONG = 1 << 10


def _protocol(machine: Machine) -> None:
    version = machine.feed.byte()
    if not 2 <= version <= 5:
        raise PickleError(f"has protocol {version}; 2 to 5 are read")


def _constant(value: Any) -> Handler:
    return lambda machine: machine.push(value)


def _integer(count: int, *, signed: bool = False) -> Handler:
    return lambda machine: machine.push(machine.feed.number(count, signed=signed))


def _long(width: int) -> Handler:
    def handle(machine: Machine) -> None:
        count = machine.feed.number(width)
        if count > _MAX_LONG:
            raise PickleError(f"holds an integer of {8 * count} bits")
        machine.push(machine.feed.number(count, signed=True))

    return handle


def _float(machine: Machine) -> None:
    machine.push(struct.unpack(">d", machine.feed.take(8))[0])


def _text(width: int, encoding: str = "utf-8") -> Handler:
    def handle(machine: Machine) -> None:
        value = machine.feed.value(machine.feed.number(width))
        if isinstance(value, Span):
            machine.push(value)
            return
        try:
            machine.push(value.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict"))
        except UnicodeDecodeError:
            raise PickleError("holds a text that is no UTF-8") from None

    return handle


def _bytes(width: int) -> Handler:
    return lambda machine: machine.push(machine.feed.value(machine.feed.number(width)))


def _tuple(count: int) -> Handler:
    def handle(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return handle


def _closed(kind: type) -> Handler:
    def handle(machine: Machine) -> None:
        values = kind(machine.since_mark())
        machine.push(values)

    return handle


def _put(width: int) -> Handler:
    return lambda machine: machine.remember(machine.feed.number(width))


def _get(width: int) -> Handler:
    return lambda machine: machine.recall(machine.feed.number(width))


def _global(machine: Machine) -> None:
    module = machine.feed.line()
    machine.push(named(module, machine.feed.line()))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise PickleError("names a class or function by something that is no text")
    machine.push(named(module, name, dotted=True))


def _frame(machine: Machine) -> None:
    machine.feed.take(8)


HANDLERS: dict[int, Handler] = {
    code[0]: handler
    for code, handler in {
        pickle.PROTO: _protocol,
        pickle.FRAME: _frame,
        pickle.MARK: Machine.mark,
        pickle.POP: lambda machine: machine.since_mark() if not machine.stack and machine.marks else machine.pop(),
        pickle.POP_MARK: Machine.since_mark,
        pickle.NONE: _constant(None),
        pickle.NEWTRUE: _constant(True),
        pickle.NEWFALSE: _constant(False),
        pickle.BININT: _integer(4, signed=True),
        pickle.BININT1: _integer(1),
        pickle.BININT2: _integer(2),
        pickle.LONG1: _long(1),
        pickle.LONG4: _long(4),
        pickle.BINFLOAT: _float,
        pickle.SHORT_BINUNICODE: _text(1),
        pickle.BINUNICODE: _text(4),
        pickle.BINUNICODE8: _text(8),
        pickle.SHORT_BINSTRING: _text(1, "latin1"),
        pickle.BINSTRING: _text(4, "latin1"),
        pickle.SHORT_BINBYTES: _bytes(1),
        pickle.BINBYTES: _bytes(4),
        pickle.BINBYTES8: _bytes(8),
        pickle.BYTEARRAY8: _bytes(8),
        pickle.EMPTY_TUPLE: _constant(()),
        pickle.EMPTY_LIST: lambda machine: machine.push([]),
        pickle.EMPTY_DICT: lambda machine: machine.push({}),
        pickle.EMPTY_SET: lambda machine: machine.push([]),
        pickle.TUPLE: _closed(tuple),
        pickle.LIST: _closed(list),
        pickle.FROZENSET: _closed(list),
        pickle.TUPLE1: _tuple(1),
        pickle.TUPLE2: _tuple(2),
        pickle.TUPLE3: _tuple(3),
        pickle.APPEND: objects.append,
        pickle.APPENDS: objects.extend,
        pickle.ADDITEMS: objects.extend,
        pickle.SETITEM: objects.set_item,
        pickle.SETITEMS: objects.set_items,
        pickle.BINPUT: _put(1),
        pickle.LONG_BINPUT: _put(4),
        pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
        pickle.BINGET: _get(1),
        pickle.LONG_BINGET: _get(4),
        pickle.GLOBAL: _global,
        pickle.STACK_GLOBAL: _stack_global,
        pickle.REDUCE: objects.reduce,
        pickle.NEWOBJ: objects.new,
        pickle.NEWOBJ_EX: objects.new_with_keywords,
        pickle.BUILD: objects.build,
        pickle.BINPERSID: lambda machine: machine.push(machine.persistent(machine.pop())),
    }.items()
}
"""Opcode -> what it does. `STOP` is the loop's; whatever is not here ends the reading."""
