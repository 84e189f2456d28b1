"""The networks by name, as data: to list them takes no Keras and builds nothing.

`catalogue.json` holds what `registry` would say. `python zoo/catalogue.py` writes it, a test compares the two.
"""

from __future__ import annotations

import functools
import json
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

from keras_yolo_backbones.errors import one_of

FILE = "catalogue.json"
FACTS = "facts.json"

PERMISSIVE = ("Apache-2.0", "MIT", "LicenseRef-YOLO-2")
"""Licences that closed products may use; the last one is Darknet's, which allows everything."""


@functools.cache
def stored(file: str) -> dict[str, Any]:
    """The content of one of the package's JSON files."""
    return json.loads(resources.files(__package__).joinpath(file).read_text("utf-8"))


def catalogue() -> dict[str, dict[str, Any]]:
    """Name -> `levels`, `activations`, `image_size`, `project`, `licence`, `weights_licence` and `files`.

    `licences` holds the pair of code and weights for everyone who published the network, its release first.
    """
    return stored(FILE)


def stored_facts() -> dict[str, dict[str, Any]]:
    """Name -> what `kyb info NAME --json` prints of the network as it is by default; `zoo/facts.py` writes it."""
    return stored(FACTS)


def list_models(pattern: str = "*", *, licence: str | None = None) -> list[str]:
    """Names of all networks that match a shell pattern such as `"v*-s"`, family by family.

    Args:
        pattern: of names.
        licence: `"permissive"` for the networks whose code and weights have been published under licences that closed
            products may use, `PERMISSIVE`; or one SPDX identifier; `None` for all.

    Raises:
        ArgumentError: no network is under that licence; the message lists those that are.
    """
    wanted = {"permissive": PERMISSIVE, None: None}.get(licence, (licence,))
    if wanted is None:
        return [name for name in catalogue() if fnmatchcase(name, pattern)]
    under = [name for name, row in catalogue().items() if any(set(both) <= set(wanted) for both in row["licences"])]
    if not under:
        known = sorted({weights for row in catalogue().values() for _, weights in row["licences"]})
        raise one_of("licence", licence, ["permissive", *known])
    return [name for name in under if fnmatchcase(name, pattern)]
