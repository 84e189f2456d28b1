"""Files whose batch norms are folded into the convolutions, and whose parallel branches are one convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

_NAMES = (
    (".rbr_dense.conv.", ".rbr_reparam."),
    (".branch_3x3.conv.", ".rbr_reparam."),
    (".conv1.conv.", ".conv."),
    (".conv.conv.", ".conv."),
)
"""The largest of several branches -> the convolution that the originals make of them."""

Entry = TypeVar("Entry")


def folded_keys(key: str) -> list[str]:
    """Where a folded file may keep what is under `key` in a file that is not folded; `key` itself comes first."""
    return [key, *(key.replace(branch, instead) for branch, instead in _NAMES if branch in key)]


def found_under(key: str, entries: Mapping[str, Entry]) -> str:
    """The first of `folded_keys` that `entries` has; `key` if there is none."""
    return next((name for name in folded_keys(key) if name in entries), key)
