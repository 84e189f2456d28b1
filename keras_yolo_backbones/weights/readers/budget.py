"""How much work a file may cause. Every loop over what a stranger wrote counts its steps here."""

from __future__ import annotations

from collections.abc import Callable

_FREE = 200_000
_PER_BYTE = 4


class Budget:
    """Steps that may still be taken for one file: a fixed number, and a few for each byte of structure in it.

    Args:
        error: makes the exception to raise, from its text.
    """

    def __init__(self, error: Callable[[str], Exception]):
        self._error = error
        self._left = _FREE

    def allow(self, size: int) -> None:
        """Add the steps for `size` bytes of pickle, directory or header."""
        self._left += _PER_BYTE * size

    def spend(self, steps: int = 1) -> None:
        """Count steps.

        Raises:
            CheckpointError: there are none left.
        """
        self._left -= steps
        if self._left < 0:
            raise self._error(
                "takes more work to read than its size explains: it is damaged, or was made to keep a reader busy; "
                "get the file again from where it was published."
            )
