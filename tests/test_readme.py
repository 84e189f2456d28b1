"""What the documents show exists: commands parse, Python compiles, names are there."""

from __future__ import annotations

import re
import shlex

import pytest
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import build_parser

DOCUMENTS = sorted(path.relative_to(ROOT) for path in ROOT.glob("*.md")) + sorted(
    path.relative_to(ROOT) for folder in ("zoo", "tflite", "examples") for path in (ROOT / folder).rglob("*.md")
)


def blocks(document) -> list[tuple[str, str]]:
    """(language, content) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_parse(document):
    for _, content in blocks(document):
        for line in content.replace("\\\n", " ").splitlines():
            if line.startswith("kyb "):
                build_parser().parse_args(shlex.split(line, comments=True)[1:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_python_compiles_and_names_exist(document):
    for language, content in blocks(document):
        if language == "python":
            compile(content, str(document), "exec")
            for name in re.findall(r"\bkyb\.(\w+)", content):
                assert hasattr(kyb, name), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_make_targets_exist(document):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for _, content in blocks(document):
        assert set(re.findall(r"^make ([\w-]+)", content, re.MULTILINE)) <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / document).read_text()):
        assert (ROOT / document).parent.joinpath(target).exists(), target


def test_the_documents_are_found():
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= {str(document) for document in DOCUMENTS}
