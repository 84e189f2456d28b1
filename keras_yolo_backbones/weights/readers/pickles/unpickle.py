"""The loop over a pickle's opcodes."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import Any

from keras_yolo_backbones.weights.readers.budget import Budget
from keras_yolo_backbones.weights.readers.feed import Feed
from keras_yolo_backbones.weights.readers.pickles.machine import MAX_NESTING, Functions, Machine
from keras_yolo_backbones.weights.readers.pickles.opcodes import HANDLERS
from keras_yolo_backbones.weights.readers.pickles.values import CONTAINERS, PickleError, children

MAX_OPCODES = 1_000_000

_STOP = pickle.STOP[0]


def interpret(feed: Feed, persistent: Callable[[Any], Any], functions: Functions, budget: Budget) -> Any:
    """What the next pickle of a feed describes, as plain data, stubs and whatever `persistent` and `functions` make.

    Dicts have text as their keys; numbers among them became text. Sets became lists.

    Raises:
        PickleError: an opcode that no harmless pickle has, a limit passed, a broken pickle.
        CheckpointError: the budget is spent.
    """
    machine = Machine(feed, persistent, functions, budget)
    count = 0
    while (code := feed.byte()) != _STOP:
        handler = HANDLERS.get(code)
        if handler is None:
            raise PickleError(_unknown(code, feed.position - 1))
        count += 1
        if count > MAX_OPCODES:
            raise PickleError(f"has more than {MAX_OPCODES} opcodes")
        handler(machine)
    budget.spend(count)
    if machine.marks or len(machine.stack) != 1:
        raise PickleError("does not end with one value")
    _check_nesting(machine.stack[0], budget)
    return machine.stack[0]


def _unknown(code: int, position: int) -> str:
    opcode = next((known for known in pickletools.opcodes if known.code == chr(code)), None)
    if opcode is None:
        return f"is broken: byte {position} of the file, {code}, is no opcode"
    return f"uses the opcode {opcode.name}, which is not read: no checkpoint is known that has it"


def _check_nesting(root: Any, budget: Budget) -> None:
    """Level by level, each value once: neither a deep nor a much shared structure costs more than its size."""
    level, seen = [root], {id(root)}
    for _ in range(MAX_NESTING):
        inner = []
        steps = 0
        for value in level:
            for child in children(value):
                steps += 1
                if isinstance(child, CONTAINERS) and id(child) not in seen:
                    seen.add(id(child))
                    inner.append(child)
        budget.spend(steps)
        if not inner:
            return
        level = inner
    raise PickleError(f"nests values more than {MAX_NESTING} deep")
