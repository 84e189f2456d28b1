"""What is known of a file on a device, and who says so."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Refusal:
    """An operator that an accelerator does not run.

    Attributes:
        operator: its name.
        count: how many of them the file has.
        reason: why.
        advice: what to change.
    """

    operator: str
    count: int
    reason: str
    advice: str


@dataclasses.dataclass(frozen=True)
class Report:
    """A file on a device.

    Attributes:
        target: the device, with its size where it has sizes.
        source: who says it: a tool with its version, or `"documentation"`.
        operators: how many operators the file has.
        refused: those that run elsewhere, or in a wider type.
        facts: what else the tool says: name -> number or text; units are part of the names.
        missing: the tool that would say more and is not installed, with the command that installs it; or empty.
    """

    target: str
    source: str
    operators: int
    refused: list[Refusal]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    missing: str = ""

    @property
    def taken(self) -> int:
        """How many operators the device runs."""
        return self.operators - sum(refusal.count for refusal in self.refused)

    def describe(self) -> dict[str, Any]:
        """The same as JSON values."""
        return dataclasses.asdict(self) | {"taken": self.taken}
