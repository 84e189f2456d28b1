"""What the catalogue page knows of each network, from committed files: it builds nothing and needs no Keras."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from keras_yolo_backbones.catalogue import catalogue, list_models
from keras_yolo_backbones.known_memory import known_memory

ROOT = Path(__file__).parents[2]

ATTENTION = ("v10", "v11", "v12", "v13", "v26")
"""Families whose networks multiply feature maps with each other. A test builds every network and looks."""

SIDE = 192
"""Image size of the measurements on devices; the arenas are predicted for it too."""

DEVICES = {"u55": "ethos-u55-256", "u85": "ethos-u85-512", "xnnpack": "xnnpack"}
"""Key in a row -> key in devices.json."""

GROUPS = {"LicenseRef-YOLO-NAS": "non-commercial", "GPL-3.0": "GPL-3.0", "AGPL-3.0": "AGPL-3.0"}
"""Licence of the published weights -> its group; what is not here is permissive."""

SHORT = {"LicenseRef-YOLO-2": "YOLO", "LicenseRef-YOLO-NAS": "non-commercial"}
"""SPDX identifiers that do not speak for themselves."""


def rows() -> list[dict[str, Any]]:
    """One row a network, in the order of `kyb list`.

    `parameters` and `macs` are counts (MACs of one 640×640 image), `channels` begin at P2. `arena` is that of the int8
    file with ReLU6 at 192×192 in bytes: measured, or as `predicted`, or `None` where neither is there.
    `measured` maps `relu6` and `own` to what tools said.
    """
    originals = _read("tests/data/originals.json")
    devices = _devices()
    arenas = {name: known_memory(name, (SIDE, SIDE), "relu6") or {} for name in catalogue()}
    permissive = set(list_models(licence="permissive"))
    return [
        {
            "name": name,
            "family": family(name),
            "project": facts["project"],
            "licence": _licences(facts),
            "group": GROUPS.get(facts["weights_licence"], "permissive"),
            "permissive": name in permissive,
            "activations": facts["activations"],
            "attention": has_attention(name),
            "levels": facts["levels"],
            "image": facts["image_size"],
            "files": facts["files"],
            "predicted": arenas[name].get("micro_arena"),
            "arena": devices.get(name, {}).get("relu6", {}).get("arena") or arenas[name].get("micro_arena"),
            "measured": devices.get(name, {}),
            **{key: originals[name][key] for key in ("channels", "parameters", "macs")},
        }
        for name, facts in catalogue().items()
    ]


def family(name: str) -> str:
    """ "v4-scaled-csp" -> "v4"."""
    return name.split("-")[0]


def has_attention(name: str) -> bool:
    """Whether a network has matrix products of two feature maps; the classifiers of the same families have them too."""
    return family(name) in ATTENTION


def _licences(facts: dict[str, Any]) -> str:
    names = dict.fromkeys(weights for _, weights in facts["licences"])
    return " or ".join(SHORT.get(name, name) for name in names)


def _devices() -> dict[str, dict[str, Any]]:
    """Network -> activation -> what the tools said of the int8 file at 192×192."""
    found: dict[str, dict[str, Any]] = {}
    for row in _read("tflite/devices.json"):
        if row["side"] == SIDE:
            found.setdefault(row["network"], {})[row["activation"]] = _measured(row)
    return found


def _measured(row: dict[str, Any]) -> dict[str, Any]:
    shares = {f"{key}_share": row[device]["taken"] / row["operators"] for key, device in DEVICES.items()}
    times = {f"{key}_ms": row[DEVICES[key]]["ms"] for key in ("u55", "u85")}
    arena = (row["micro"] or {}).get("arena_total_bytes")
    return {"operators": row["operators"], "bytes": round(row["mb"] * 1e6), "arena": arena, **times, **shares}


def _read(path: str) -> Any:
    return json.loads((ROOT / path).read_text("utf-8"))
