"""Which classes and functions a pickle may name. None is ever looked up; this is about what is read without a word."""

from __future__ import annotations

import sys

from keras_yolo_backbones.errors import shown
from keras_yolo_backbones.weights.readers.pickles.values import Global, PickleError

_MAX_NAME = 200

# fmt: off
_DATA = frozenset({
    "_codecs", "abc", "argparse", "array", "collections", "contextlib", "copy_reg", "copyreg", "dataclasses",
    "datetime", "decimal", "enum", "fractions", "functools", "io", "itertools", "logging", "math", "numbers",
    "operator", "pathlib", "queue", "random", "re", "statistics", "string", "struct", "time", "types", "typing",
    "uuid", "warnings", "weakref", "zoneinfo",
})
# fmt: on
"""Parts of Python's own library whose classes honest checkpoints hold: settings, hooks, dates, paths."""

_BUILTINS = ("builtins", "__builtin__")
_ACTS = frozenset({"eval", "exec", "compile", "execfile", "open", "file", "input", "breakpoint", "__import__"})
"""What of the builtins runs or opens something."""


def named(module: str, name: str, *, dotted: bool = False) -> Global:
    """The global of this name.

    A name of Python's own library that is not known to be harmless ends the reading: a stub of it would be as inert as
    all stubs, but a file that names `os.system` should not pass in silence.

    Args:
        module: as the pickle has it.
        name: in the module.
        dotted: the name may be that of a class inside a class.

    Raises:
        PickleError: such a name, or one that is none.
    """
    parts = name.split(".") if dotted else [name]
    valid = all(part.isidentifier() for part in (*module.split("."), *parts))
    if len(module) + len(name) > _MAX_NAME or not valid or (len(parts) > 1 and any(p[:2] == "__" for p in parts)):
        raise PickleError(f"names {shown(f'{module} {name}')!r}, which is no class or function")
    top = module.split(".")[0]
    if _is_harmless(top, parts[0]):
        return Global(module, name)
    raise PickleError(
        f"names {shown(f'{module}.{name}')}. Nothing in a pickle is executed here, and a pickle that names this is not "
        "read; get the weights as safetensors or as a state dict, from a source that you trust"
    )


def _is_harmless(top: str, name: str) -> bool:
    if top in _BUILTINS:
        return name not in _ACTS
    return top in _DATA or top not in sys.stdlib_module_names
