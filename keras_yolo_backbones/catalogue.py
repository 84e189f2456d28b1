"""The networks by name, as data: to list them takes no Keras and builds nothing.

`catalogue.json` holds what `registry` would say. `python zoo/catalogue.py` writes it, a test compares the two.
"""

from __future__ import annotations

import functools
import json
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

FILE = "catalogue.json"


@functools.cache
def catalogue() -> dict[str, dict[str, Any]]:
    """Name -> `levels`, `activations`, `image_size`, `project`, `licence`, `weights_licence` and `files`."""
    return json.loads(resources.files(__package__).joinpath(FILE).read_text("utf-8"))


def list_models(pattern: str = "*") -> list[str]:
    """Names of all networks that match a shell pattern such as `"v*-s"`, family by family."""
    return [name for name in catalogue() if fnmatchcase(name, pattern)]
