"""Data flows one way: the imports of every module, held against one table."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "keras_yolo_backbones"

FLOORS = (
    ("errors", "version", "quiet"),
    (
        *("arena", "arguments", "catalogue", "child", "datasets", "extras", "files", "fragile", "garbage"),
        *("images", "known_memory"),
        *("letterboxes", "levels", "limited", "litert"),
        *("marks", "multiples", "orientation", "pixel_limit", "preprocessing", "progress", "provenance"),
        *("sides", "strangers", "webp", "work_folders"),
    ),
    ("blocks",),
    ("families.frame",),
    ("families",),
    ("registry",),
    ("graph",),
    ("prepare",),
    ("weights.readers",),
    ("weights.recognition",),
    ("weights", "quantization", "quantization.tfmot"),
    ("export", "saving", "pretrained"),
    ("benchmark", "features", "serving", "targets"),
    ("commands",),
    ("cli",),
)
"""The house, from the ground up. A part may import the parts below its floor and those on it."""

ONLY = {
    "weights.readers": ("errors", "marks"),
    "weights.recognition": ("errors", "multiples", "weights.readers"),
    "blocks": ("errors",),
    "families.frame": ("errors", "multiples", "preprocessing", "sides", "blocks"),
    "serving": ("errors", "extras"),
}
"""Parts that know less than their floor allows."""

BACKEND_FREE = ("blocks", "families.frame", "families")
"""Parts that import only Keras beside the standard library, so that they build under every backend."""

TOOLBOXES = {"tensorflow_model_optimization": "quantization.tfmot", "tf2onnx": "export", "grpc": "serving"}
"""Other people's package -> the only part that imports it."""

KERAS_FREE = ("weights.readers", "weights.recognition", "litert")
"""Parts that import neither Keras nor TensorFlow."""

_PARTS = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}


def part_of(module: str) -> str:
    """The part of the house that a module of the package is in."""
    path = module.removeprefix(f"{PACKAGE}.").split(".")
    return next((name for name in (".".join(path[:2]), path[0]) if name in _PARTS), path[0])


def imported(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of all that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def faults(module: str, source: str) -> list[str]:
    """What a module imports though the table forbids it."""
    part, found = part_of(module), []
    for line, name in imported(source):
        top = name.split(".")[0]
        if top == PACKAGE:
            wanted = part_of(name)
            allowed = ONLY.get(part, [other for other in _PARTS if _PARTS[other] <= _PARTS[part]])
            if wanted != part and wanted in _PARTS and wanted not in allowed:
                found.append(f"{module}:{line} imports {name}, but {part} may not know {wanted}")
        elif top in ("zoo", "tflite", "examples", "tests"):
            found.append(f"{module}:{line} imports {name}; the package imports nothing that is not installed")
        elif part in BACKEND_FREE and top != "keras" and top not in sys.stdlib_module_names:
            found.append(f"{module}:{line} imports {name}, but {part} imports only Keras")
        elif part in KERAS_FREE and top in ("keras", "tensorflow", "tf_keras"):
            found.append(f"{module}:{line} imports {name}, but {part} works without it")
        elif part != TOOLBOXES.get(top, part):
            found.append(f"{module}:{line} imports {name}; only {TOOLBOXES[top]} does")
    return found


def modules() -> dict[str, Path]:
    """All modules of the package but its front door, which names everything."""
    files = [file for file in (ROOT / PACKAGE).rglob("*.py") if file != ROOT / PACKAGE / "__init__.py"]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def test_every_part_is_in_the_table():
    parts = {part_of(module) for module in modules()}
    assert parts == set(_PARTS)


def test_nothing_imports_what_is_above_it():
    found = [fault for module, file in modules().items() for fault in faults(module, file.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("module", "line", "fault"),
    [
        ("quantization.planning", "from keras_yolo_backbones.export.manifest import Artifact", "may not know export"),
        ("weights.readers.archive", "from keras_yolo_backbones.registry import find", "may not know registry"),
        ("weights.readers.archive", "import keras", "works without it"),
        ("blocks.conv", "import numpy as np", "imports only Keras"),
        ("families.v8", "from keras_yolo_backbones import registry", "may not know registry"),
        ("graph.fuse", "    import tf2onnx", "only export does"),
        ("export.tflite", "import zoo.parity", "not installed"),
        ("commands.list", "from keras_yolo_backbones.cli import main", "may not know cli"),
    ],
)
def test_a_planted_import_is_found(module, line, fault):
    planted = f"def later():\n{line}" if line.startswith(" ") else line
    (found,) = faults(f"{PACKAGE}.{module}", planted)
    assert fault in found


def table() -> str:
    """The table as CONTRIBUTING shows it."""
    return "\n".join(f"{'' if floor == 0 else '→ '}{', '.join(parts)}" for floor, parts in enumerate(FLOORS))


def test_contributing_shows_the_same_table():
    assert f"```\n{table()}\n```" in (ROOT / "CONTRIBUTING.md").read_text()


def test_a_family_can_be_read_beside_the_figure_of_its_paper():
    files = [file for file in (ROOT / PACKAGE / "families").glob("*.py") if file.stem != "__init__"]
    lines = {file.stem: len(file.read_text().splitlines()) for file in files}
    assert len(lines) >= 17
    assert {name: count for name, count in lines.items() if count > 150} == {}
