"""What a pickle is read as, beside Python's own plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from keras_yolo_backbones.weights.readers.feed import MalformedError


class PickleError(MalformedError):
    """Why a pickle is not read."""


@dataclasses.dataclass(slots=True, eq=False)
class Global:
    """The name of a class or function. Nothing was looked up."""

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
        state: the attributes of the instance.
        items: what it holds as a dict, if it is one.
    """

    made_by: Global
    arguments: tuple[Any, ...] = ()
    state: dict[Any, Any] | None = None
    items: dict[Any, Any] | None = None

    def attribute(self, name: str) -> Any:
        """The attribute's value, `None` if it was never set."""
        return self.state.get(name) if self.state else None


@dataclasses.dataclass(slots=True, eq=False)
class Unreadable:
    """A value that is understood but not read, such as a complex tensor; an error only if it is a weight."""

    reason: str


class Built:
    """A value whose content is the state that the pickle sets on it."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Read the state; raise `PickleError` if it is not as it should be."""
        raise NotImplementedError


CONTAINERS = (dict, list, tuple, Stub)
"""What has values inside."""


def children(value: Any) -> Iterator[Any]:
    """The values directly inside a value."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, Stub):
        yield value.arguments
        yield value.state
        yield value.items


def as_dict(value: Any) -> dict[Any, Any]:
    """The items of a dict, or of an instance of a class that is one; empty for anything else."""
    if isinstance(value, Stub):
        value = value.items
    return value if isinstance(value, dict) else {}
