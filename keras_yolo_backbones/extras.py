"""What an extra of this package needs, in the words of a command: by the packages' own names."""

from __future__ import annotations

import re
from importlib import metadata

_PACKAGE = "keras-yolo-backbones"


def how_to_install(extra: str) -> str:
    """The command that installs an extra into an environment that has this package from wherever it came."""
    try:
        return f"pip install {' '.join(repr(name) for name in _packages(extra))}"
    except metadata.PackageNotFoundError:
        return f"install {_PACKAGE} with its extra {extra!r}"


def _packages(extra: str) -> list[str]:
    """Requirements of an extra; those of an extra that it includes are among them."""
    found = []
    for line in metadata.requires(_PACKAGE) or []:
        requirement, _, marker = line.partition(";")
        if not re.search(rf"extra == ['\"]{extra}['\"]", marker):
            continue
        included = re.fullmatch(rf"{_PACKAGE}\[(.+)\]", requirement.strip())
        found += [name for part in included[1].split(",") for name in _packages(part)] if included else [requirement]
    return [name.strip() for name in found]
