"""The API reference: every public name, with its docstring, by what it is for."""

from __future__ import annotations

import keras_yolo_backbones as kyb
from keras_yolo_backbones import errors, quantization

PACKAGE = kyb.__name__

TOPICS = {
    "Networks": ("registry", "catalogue", "levels", "graph"),
    "Images": ("letterboxes", "prepare", "preprocessing"),
    "Weights": ("weights", "provenance"),
    "Models on disk": ("saving", "pretrained"),
    "Export": ("export",),
    "Features": ("features",),
}
"""Title of a page -> the parts of the package whose public names are on it. Families have pages of their own."""


def api_pages() -> dict[str, tuple[str, str]]:
    """Page -> its title and text, a line a name for mkdocstrings."""
    elsewhere = ("families", "quantization")  # on pages of their own
    named = {name: module for name, module in kyb._LAZY.items() if module.split(".")[0] not in elsewhere}
    pages = {}
    for title, parts in TOPICS.items():
        names = [f"{named.pop(name)}.{name}" for name in sorted(named) if named[name].split(".")[0] in parts]
        pages[_path(title)] = title, _page(title, "kyb", names)
    if named:
        raise ValueError(f"no page for {', '.join(named)}: put their parts into api_pages.TOPICS")
    names = [f"quantization.{module}.{name}" for name, module in sorted(quantization._LAZY.items())]
    pages["api/quantization.md"] = "Quantization", _page("Quantization", "kyb.quantization", names)
    pages["api/serving.md"] = "Serving", _page("Serving", "kyb.serving", ["serving.client.Client"])
    names = [f"errors.{name}" for name in kyb.__all__ if hasattr(errors, name)]
    pages["api/errors.md"] = "Errors", _page("Errors", "kyb", names)
    return pages


def _path(title: str) -> str:
    return f"api/{title.lower().replace(' ', '-')}.md"


def _page(title: str, where: str, names: list[str]) -> str:
    lines = [f"# {title}", "", f"In `{where}`." if where != "kyb" else "`import keras_yolo_backbones as kyb`", ""]
    for name in names:
        lines += [f"::: {PACKAGE}.{name}", ""]
    return "\n".join(lines)
