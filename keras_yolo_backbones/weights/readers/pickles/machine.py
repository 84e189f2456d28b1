"""The state of the pickle interpreter: one stack per open mark, and a memo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from keras_yolo_backbones.weights.readers.budget import Budget
from keras_yolo_backbones.weights.readers.feed import Feed
from keras_yolo_backbones.weights.readers.pickles.values import PickleError

MAX_NESTING = 200

Functions = Mapping[str, Callable[..., Any]]
"""`"module.name"` -> what a call of that global makes of its arguments."""

_NOTHING = object()


class Machine:
    """The interpreter's state.

    Args:
        feed: the pickle.
        persistent: what to make of a persistent id; torch refers to storages so.
        functions: calls that make something else than a stub.
        budget: of the file.
    """

    def __init__(self, feed: Feed, persistent: Callable[[Any], Any], functions: Functions, budget: Budget):
        self.feed = feed
        self.persistent = persistent
        self.functions = functions
        self.budget = budget
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: list[Any] = []
        self.push = self.stack.append

    def _use(self, stack: list[Any]) -> None:
        self.stack, self.push = stack, stack.append

    def pop(self) -> Any:
        """Take the topmost value off the stack."""
        if not self.stack:
            raise PickleError("takes a value off an empty stack")
        return self.stack.pop()

    def mark(self) -> None:
        """Begin a new stack on top of this one."""
        if len(self.marks) >= MAX_NESTING:
            raise PickleError(f"nests marks more than {MAX_NESTING} deep")
        self.marks.append(self.stack)
        self._use([])

    def since_mark(self) -> list[Any]:
        """All values pushed since the last mark, which is closed."""
        if not self.marks:
            raise PickleError("closes a mark that was never set")
        values = self.stack
        self._use(self.marks.pop())
        return values

    def top(self, kind: type | tuple[type, ...], doing: str) -> Any:
        """The topmost value, which must be of a kind."""
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise PickleError(f"{doing} a value that does not allow it")
        return self.stack[-1]

    def remember(self, index: int) -> None:
        """Keep the topmost value under a number. Pickles count from 0, so that the memo is a list with few gaps."""
        if not self.stack:
            raise PickleError("remembers a value of an empty stack")
        if index == len(self.memo):
            self.memo.append(self.stack[-1])
            return
        if index > self.feed.length:
            raise PickleError(f"puts a value at place {index} of its memo")
        gap = index + 1 - len(self.memo)
        if gap > 0:
            self.budget.spend(gap)
            self.memo.extend([_NOTHING] * gap)
        self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        """Push the value that is kept under a number."""
        value = self.memo[index] if index < len(self.memo) else _NOTHING
        if value is _NOTHING:
            raise PickleError(f"asks for place {index} of its memo, where nothing is")
        self.push(value)
