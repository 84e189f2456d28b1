"""The site: parts of README.md and public names have their places, links lead somewhere; slow: the build itself."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.families import FAMILIES
from keras_yolo_backbones.known_memory import known_memory
from keras_yolo_backbones.quantization.memory import predicted_memory

sys.path.insert(0, str(ROOT / "zoo"))
sys.path.insert(0, str(ROOT / "zoo" / "site"))

import api_pages
import arenas
import catalogue_data
import family_pages
import included

WRITTEN = {
    file.name: included.written(file.read_text("utf-8")) for file in (ROOT / "zoo" / "site" / "pages").glob("*.md")
}


def test_readme_is_all_there_and_nothing_twice():
    parts = [text for _, text in included.readme().values()]
    headings = re.findall(r"^##? (.*)", "\n".join(parts), flags=re.MULTILINE)
    readme = (ROOT / "README.md").read_text("utf-8")
    assert sorted(headings) == sorted(re.findall(r"^##? (.*)", readme, flags=re.MULTILINE))
    words = sum(len(text.split()) for text in parts)
    assert words == len(readme.split())
    assert {"README.md", "build.md", "weights.md", "quantize.md", "export.md", "serve.md"} <= set(included.readme())
    assert "[Serve](serve.md)" in included.readme()["export.md"][1]


def test_links_lead_to_pages_or_files():
    pages = {path: text for path, (_, text) in included.readme().items()} | WRITTEN
    pages |= {path: included.without_folders(path, (ROOT / path).read_text("utf-8")) for path in included.whole()}
    made = {*pages, *api_pages.api_pages(), "catalogue.html"}
    broken = []
    for path, text in pages.items():
        for link in included.LINK.finditer(included.without_folders(path, text)):
            place = os.path.normpath(os.path.join(os.path.dirname(path), link[2])) if link[2] else path
            if place not in made and place not in included.linked(path, text):
                broken.append(f"{path}: {link[0]}")
    assert broken == []


def test_links_to_folders():
    assert included.without_folders("README.md", "[zoo](zoo/) [cpp](tflite/cpp) [a](b.md)") == (
        "[zoo](zoo/README.md) cpp [a](b.md)"
    )


def test_every_public_name_is_in_the_reference():
    lines = "\n".join(text for _, text in api_pages.api_pages().values()).splitlines()
    places = [line.removeprefix("::: ") for line in lines if line.startswith("::: ")]
    for place in places:
        module, name = place.rsplit(".", 1)
        assert getattr(importlib.import_module(module), name).__doc__, place
    names = {place.rsplit(".", 1)[1] for place in places}
    public = {*dir(kyb), *dir(kyb.quantization), "Client"} - {"__version__", "quantization", "serving"}
    assert names == public - set(FAMILIES)
    assert len(places) == len(names)


def test_a_family_has_a_page_with_its_networks_and_measurements():
    pages = family_pages.family_pages()
    assert set(pages) == {f"families/{name}.md" for name in FAMILIES}
    v8 = pages["families/v8.md"]
    assert "| `v8-n` | 1.27 M | 1.58 G | 32 64 128 256 | 333 kB | AGPL-3.0 | yolov8n.pt |" in v8
    assert "| `v8-n` | relu6 | 50 | 1.3 | 3.7 ms, 100% | 1.2 ms, 100% | 100.0% |" in v8
    assert "Drawn by `kyb.draw` from `v12-n`" in pages["families/v12.md"]
    rows = catalogue_data.rows()
    assert all(f"| `{row['name']}` |" in pages[f"families/{row['family']}.md"] for row in rows)


def test_arenas_are_those_that_are_predicted():
    sides = (64, 192)  # the first is in no table: both follow from the shapes at 512
    found, weights = arenas.arenas("v3-tiny", "relu6", sides)
    assert found == [
        predicted_memory(kyb.create("v3-tiny", activation="relu6", input_shape=(64, 64, 3)))["micro_arena"],
        catalogue_data.rows()[2]["predicted"],
    ]
    assert known_memory("v3-tiny", (192, 192), "relu6") == {"micro_arena": found[1], "weights": weights}
    assert known_memory("v3-tiny", (192, 192), "relu") == known_memory("v3-tiny", (192, 192), "relu6")
    assert known_memory("v3-tiny", (192, 192), None)["micro_arena"] > found[1]
    unknown = [((192, 192), "mish"), ((192, 224), "relu6"), ((64, 64), "relu6")]
    assert [known_memory("v3-tiny", *what) for what in unknown] == [None] * 3


def test_an_axis_at_a_third_image_side():
    bases = (192, 320)
    assert arenas.length(32, 32, bases, 640) == 32  # channels
    assert arenas.length(98, 162, bases, 640) == 322  # a map with padding
    assert arenas.length(36, 100, bases, 640) == 400  # the cells of a map
    with pytest.raises(ValueError, match="at 192 and 320 say nothing of 100"):
        arenas.length(6, 10, bases, 100)


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "-f", ROOT / "zoo" / "site" / "mkdocs.yml", "-d", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    pages = {file.relative_to(tmp_path).as_posix(): file.read_text("utf-8") for file in tmp_path.rglob("*.html")}
    assert {"index.html", "catalogue.html", "families/v8.html", "api/export.html", "tflite/devices.html"} <= set(pages)
    for path, text in pages.items():
        if drawn := re.search(r"Drawn by <code>kyb.draw</code> from <code>(.+?)</code>", text):
            assert f">{drawn[1]}</text>" in (tmp_path / path).with_suffix(".svg").read_text("utf-8")
    for path, text in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)|<link[^>]* href=\"([^\"]+)", text)
        assert [one for pair in loaded for one in pair if one.startswith(("http:", "https:", "//"))] == [], path
    assert [
        fault for path, text in pages.items() if path != "404.html" for fault in broken(tmp_path / path, text)
    ] == []
    headings = re.findall(r'<h2 id="keras_yolo_backbones\.export[\w.]*\.(\w+)"', pages["api/export.html"])
    assert {"export_onnx", "export_saved_model", "export_tflite"} <= set(headings)
    assert "with a dynamic batch" in pages["api/export.html"]


def broken(page: Path, text: str) -> list[str]:
    """Links of a page to files that are not there."""
    links = re.findall(r"(?:href|src)=\"([^\"#?]+)[^\"]*\"", text)
    local = [unquote(link) for link in links if not re.match(r"\w+:|//|/", link)]
    return [f"{page}: {link}" for link in local if not (page.parent / link).exists()]
