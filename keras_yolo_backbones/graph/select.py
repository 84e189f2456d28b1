"""Choosing layers by name: the one selector of `keep_float` and `freeze`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from fnmatch import fnmatchcase

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.graph.ir import Node


def select(called: Mapping[Node, str], wanted: str, *, argument: str, where: str) -> set[Node]:
    """The calls whose names fit.

    Args:
        called: call -> name.
        wanted: a name; `"stage4"` also means all of `"stage4.…"`, and `*` and `?` are wildcards.
        argument: whose value this is, for the error.
        where: what the names are of, for the error, such as `"the fused network"`.

    Raises:
        ArgumentError: no name fits; the message has the nearest ones.
    """
    found = {node for node, name in called.items() if fits(name, wanted)}
    if not found:
        near = difflib.get_close_matches(wanted, called.values(), n=3, cutoff=0.5) or list(called.values())[:3]
        raise ArgumentError(f"{argument}: no layer is called {wanted!r}; {where} has {', '.join(near)}, ….")
    return found


def fits(name: str, wanted: str) -> bool:
    """Whether a layer of this name is one of `wanted`, see `select`."""
    return fnmatchcase(name, wanted) or fnmatchcase(name, f"{wanted}.*")
