"""What can go wrong, as types. Every message says what was wrong, what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BackboneError(Exception):
    """Root of all errors that this package raises on purpose; the command line shows them in one line."""


class BackboneWarning(UserWarning):
    """Something that works and may not be what was meant; the command line shows it in one line."""


class ArgumentError(BackboneError, ValueError):
    """A value that the caller passed is not allowed."""


class GraphError(BackboneError, ValueError):
    """A model that a graph pass cannot rebuild, or a pass that changed what the model computes."""


class CalibrationError(BackboneError, ValueError):
    """Calibration images that are too few, out of range, not finite, of the wrong shape or unreadable."""


class CheckpointError(BackboneError, ValueError):
    """A weight file that cannot be read safely, or whose tensors do not fit the model.

    Args:
        path: the file.
        reason: what was wrong with it, and what to do.
    """

    def __init__(self, path: object, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ExportError(BackboneError, RuntimeError):
    """An artifact that could not be written, or that disagrees with the model it was made from."""


class ServingError(BackboneError, RuntimeError):
    """A server that refuses a call, is not there, or does not answer in time.

    Args:
        message: what happened.
        code: gRPC's name for it, such as `"UNAVAILABLE"`.
    """

    def __init__(self, message: str, code: str = ""):
        super().__init__(message)
        self.code = code


def shown(text: object, most: int = 80) -> str:
    """A stranger's text as it may go into a message or a table: cut, in one line, nothing that controls a terminal.

    Args:
        text: anything; `bytes` are read as UTF-8.
        most: characters that are kept.
    """
    text = text.decode(errors="replace") if isinstance(text, bytes) else text if isinstance(text, str) else str(text)
    cut = text[:most]
    plain = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in cut)
    return plain[:most] + "…" if len(text) > most or len(plain) > most else plain


def _is_number(value: object) -> bool:
    """Whether a value is a number, of which none is nearer because its digits look alike."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def one_of(what: str, value: object, allowed: Iterable[object], *, hint: str = "") -> ArgumentError:
    """The error for a value outside a fixed set: names it, the nearest allowed one, and all of them.

    Args:
        what: what the value is, such as `"size of v8"`.
        value: what was passed.
        allowed: the values that are allowed.
        hint: a closing sentence, optional.
    """
    names = [str(name) for name in allowed]
    near = [] if _is_number(value) else difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.4)
    guess = f"; did you mean {near[0]!r}?" if near else "."
    return ArgumentError(f"unknown {what}: {value!r}{guess} Allowed: {', '.join(names)}.{' ' + hint if hint else ''}")
