"""Reading pickles without running them.

No pickle machine: the opcodes are walked with `pickletools.genops` and build only plain data. A class or function that
the pickle names is never imported; calling it or making an instance of it yields an inert `Stub`. Tensors stay
references to bytes of the archive. Everything is counted against a limit.
"""

from __future__ import annotations

import dataclasses
import pickletools
import sys
from collections.abc import Callable, Iterator
from typing import Any

MAX_BYTES = 16 << 20
MAX_OPCODES = 2_000_000
MAX_STRING = 1 << 20
MAX_INTEGER = 1 << 64
MAX_NAME = 200
MAX_NESTING = 200

_HARMLESS = {
    "__builtin__": {"set", "frozenset", "slice", "complex", "object", "bytearray"},
    "builtins": {"set", "frozenset", "slice", "complex", "object", "bytearray"},
    "collections": {"OrderedDict", "defaultdict", "Counter", "deque"},
    "_codecs": {"encode"},
    "copy_reg": {"_reconstructor"},
    "copyreg": {"_reconstructor"},
    "pathlib": {"Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"},
    "argparse": {"Namespace"},
    "types": {"SimpleNamespace"},
    "datetime": {"datetime", "timedelta", "timezone"},
    "functools": {"partial"},
}
"""What of Python's own library honest checkpoints name. Any other such name is refused: a stub of it would be as inert
as all stubs, but a file that asks for `os.system` is an attack and should not pass in silence."""


class PickleError(ValueError):
    """Why a pickle was refused; the reader of the file turns it into a `CheckpointError`."""


@dataclasses.dataclass(slots=True, eq=False)
class Global:
    """The name of a class or function. Nothing was imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclasses.dataclass(slots=True, eq=False)
class Stub:
    """What a call of a global, or an instance of it, became.

    Attributes:
        made_by: the global.
        arguments: of the call.
        states: dicts of its attributes, as they were set; not merged, for a much shared dict would be copied often.
    """

    made_by: Global
    arguments: tuple[Any, ...]
    states: list[dict[Any, Any]]

    def attribute(self, name: str) -> Any:
        """The attribute's value, `None` if it was never set."""
        return next((state[name] for state in reversed(self.states) if name in state), None)


Handler = Callable[["Machine", Any], None]


class Machine:
    """The interpreter's state: one stack per open mark, and a memo.

    Args:
        persistent: what to make of a persistent id, a tuple; torch refers to storages so.
        functions: `"module.name"` -> what a call of that global gives, from its arguments.
    """

    def __init__(self, persistent: Callable[[Any], Any], functions: dict[str, Callable[..., Any]]):
        self.persistent = persistent
        self.functions = functions
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.attributes = 0

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the topmost value off the stack."""
        if not self.stack:
            raise PickleError("takes a value off an empty stack")
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """All values pushed since the last mark."""
        if not self.marks:
            raise PickleError("closes a mark that was never set")
        values, self.stack = self.stack, self.marks.pop()
        return values

    def top(self, kind: type | tuple[type, ...], doing: str) -> Any:
        """The topmost value, which must be of a kind."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise PickleError(f"{doing} something that takes no such thing")
        return self.stack[-1]


def interpret(data: bytes, persistent: Callable[[Any], Any], functions: dict[str, Callable[..., Any]]) -> Any:
    """What a pickle describes, as plain data, stubs and whatever `persistent` and `functions` make.

    Raises:
        PickleError: an opcode that torch does not write, a limit passed, a broken pickle, or bytes after its end.
    """
    if len(data) > MAX_BYTES:
        raise PickleError(f"has {len(data)} bytes; {MAX_BYTES} are the limit")
    machine = Machine(persistent, functions)
    end = None
    try:
        for count, (opcode, argument, position) in enumerate(pickletools.genops(data)):
            if count >= MAX_OPCODES:
                raise PickleError(f"has more than {MAX_OPCODES} opcodes")
            if opcode.name == "STOP":
                end = position
                break
            handler = _HANDLERS.get(opcode.name)
            if handler is None:
                raise PickleError(f"uses the opcode {opcode.name}, which no checkpoint needs")
            handler(machine, argument)
    except PickleError:
        raise
    except (ValueError, OverflowError, RecursionError) as error:
        raise PickleError(f"is broken: {str(error)[:200]}") from None
    if end is None or end + 1 != len(data):
        raise PickleError("has bytes after its end")
    if machine.marks or len(machine.stack) != 1:
        raise PickleError("does not end with one value")
    _check_nesting(machine.stack[0])
    return machine.stack[0]


def children(value: Any) -> Iterator[Any]:
    """The values directly inside a value."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, Stub):
        yield from value.arguments
        yield from value.states


def _check_nesting(root: Any) -> None:
    """Level by level, each value once: neither a deep nor a much shared structure costs more than its size."""
    level, seen = [root], {id(root)}
    for _ in range(MAX_NESTING):
        inner = []
        for value in level:
            for child in children(value):
                if isinstance(child, (dict, list, tuple, Stub)) and id(child) not in seen:
                    seen.add(id(child))
                    inner.append(child)
        if not inner:
            return
        level = inner
    raise PickleError(f"nests values more than {MAX_NESTING} deep")


def _integer(machine: Machine, value: int) -> None:
    if abs(value) > MAX_INTEGER:
        raise PickleError(f"holds an integer of {value.bit_length()} bits")
    machine.push(value)


def _text(machine: Machine, value: str | bytes) -> None:
    if len(value) > MAX_STRING:
        raise PickleError(f"holds a string of {len(value)} characters")
    machine.push(value)


def _constant(value: Any) -> Handler:
    return lambda machine, _: machine.push(value)


def _empty(kind: type) -> Handler:
    return lambda machine, _: machine.push(kind())


def _protocol(_: Machine, version: int) -> None:
    if version not in (2, 3):
        raise PickleError(f"has protocol {version}; torch writes 2")


def _mark(machine: Machine, _: None) -> None:
    if len(machine.marks) >= MAX_NESTING:
        raise PickleError(f"nests marks more than {MAX_NESTING} deep")
    machine.marks.append(machine.stack)
    machine.stack = []


def _tuple(count: int | None) -> Handler:
    def close(machine: Machine, _: None) -> None:
        if count is None:
            machine.push(tuple(machine.since_mark()))
            return
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return close


def _put(machine: Machine, index: int) -> None:
    if not 0 <= index < MAX_OPCODES:
        raise PickleError(f"puts a value at place {index} of its memo")
    if not machine.stack:
        raise PickleError("remembers a value of an empty stack")
    machine.memo[index] = machine.stack[-1]


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise PickleError(f"asks for place {index} of its memo, where nothing is")
    machine.push(machine.memo[index])


def _append(machine: Machine, _: None) -> None:
    value = machine.pop()
    _extend(machine, [value])


def _appends(machine: Machine, _: None) -> None:
    _extend(machine, machine.since_mark())


def _extend(machine: Machine, values: list[Any]) -> None:
    target = machine.top((list, Stub), "appends to")
    if isinstance(target, list):
        target.extend(values)


def _set_item(machine: Machine, _: None) -> None:
    value, key = machine.pop(), machine.pop()
    _update(machine, [key, value])


def _set_items(machine: Machine, _: None) -> None:
    _update(machine, machine.since_mark())


def _update(machine: Machine, pairs: list[Any]) -> None:
    target = machine.top((dict, Stub), "sets an item of")
    if len(pairs) % 2:
        raise PickleError("sets a key without a value")
    if isinstance(target, Stub):
        return
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        # Hashing a tuple of shared tuples can take for ever, so no key is hashed that is not flat.
        if not isinstance(key, (str, bytes, int, float, type(None))):
            raise PickleError("uses a key that is neither text nor a number")
        target[key] = value


def _global(machine: Machine, named: str) -> None:
    module, _, name = named.partition(" ")
    if len(named) > MAX_NAME or not all(part.isidentifier() for part in module.split(".")) or not name.isidentifier():
        raise PickleError(f"names {named[:80]!r}, which is no class or function")
    known = _HARMLESS.get(module)
    if name not in known if known else module.split(".")[0] in sys.stdlib_module_names:
        raise PickleError(f"asks for {module}.{name}: code that no checkpoint needs")
    machine.push(Global(module, name))


def _reduce(machine: Machine, _: None) -> None:
    arguments, called = machine.pop(), machine.pop()
    if not isinstance(called, Global) or not isinstance(arguments, tuple):
        raise PickleError("calls something that is no named function")
    function = machine.functions.get(str(called))
    machine.push(function(*arguments) if function else _instance(called, arguments))


def _new(machine: Machine, _: None) -> None:
    arguments, called = machine.pop(), machine.pop()
    if not isinstance(called, Global) or not isinstance(arguments, tuple):
        raise PickleError("makes an instance of something that is no named class")
    machine.push(_instance(called, arguments))


def _instance(called: Global, arguments: tuple[Any, ...]) -> Any:
    if called.module == "collections" and called.name in ("OrderedDict", "defaultdict", "Counter"):
        return {}
    if called.name in ("set", "frozenset"):
        # A set as the list it was made of: its values may not be hashable any more.
        return arguments[0] if arguments and isinstance(arguments[0], list) else []
    return Stub(called, arguments, [])


def _build(machine: Machine, _: None) -> None:
    state = machine.pop()
    target = machine.top((Stub, dict, list), "sets attributes of")
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for part in parts:
        if not isinstance(part, dict):
            continue
        machine.attributes += len(part)
        if machine.attributes > MAX_OPCODES:
            raise PickleError(f"sets more than {MAX_OPCODES} attributes")
        for key in part:
            if isinstance(key, str) and key.startswith("__"):
                raise PickleError(f"sets the attribute {key[:80]!r}")
        if isinstance(target, Stub):
            target.states.append(part)


def _persistent(machine: Machine, _: None) -> None:
    machine.push(machine.persistent(machine.pop()))


_HANDLERS: dict[str, Handler] = {
    "PROTO": _protocol,
    "MARK": _mark,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "BININT": _integer,
    "BININT1": _integer,
    "BININT2": _integer,
    "LONG1": _integer,
    "BINFLOAT": lambda machine, value: machine.push(value),
    "BINUNICODE": _text,
    "SHORT_BINBYTES": _text,
    "BINBYTES": _text,
    "EMPTY_TUPLE": _constant(()),
    "EMPTY_LIST": _empty(list),
    "EMPTY_DICT": _empty(dict),
    "TUPLE": _tuple(None),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": _global,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "BUILD": _build,
    "BINPERSID": _persistent,
}
