"""What the documents show exists: commands parse, Python compiles, names are there."""

from __future__ import annotations

import re
import shlex

import keras
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import build_parser
from keras_yolo_backbones.families import Family
from keras_yolo_backbones.litert import LiteModel

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


class Batches(keras.utils.PyDataset):
    """Images and targets for whatever outputs `detector` has in a document's names."""

    def __init__(self, names):
        super().__init__()
        self.names = names

    def __len__(self):
        return 1

    def __getitem__(self, index):
        detector = self.names["detector"]
        random = np.random.default_rng(index)
        images = random.random((2, *detector.input.shape[1:]), np.float32)
        return images, {name: np.full((2, *t.shape[1:]), 0.5) for name, t in detector.output.items()}


SMALL = {
    '"s"': '"n"',
    "(320, 320, 3)": "(64, 64, 3)",
    '"adam"': '"sgd"',  # which TensorFlow traces in half the time
    "keras.optimizers.Adam(": "keras.optimizers.SGD(",
    'quantize_aware(detector, "photos/")': 'quantize_aware(detector, "photos/", method="minmax")',
    'distill(model, aware, "photos/")': 'distill(model, aware, "photos/", epochs=1)',
}
"""What is left out of the README's code where it takes long; the method is chosen by itself elsewhere in it."""


def test_the_readme_runs(photographs, tmp_path, monkeypatch):
    """All Python of the README in its order, with files of the names that it uses; small, as `SMALL` says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Family.__call__.__kwdefaults__, "input_shape", (64, 64, 3))
    (tmp_path / "photos").mkdir()
    for index, photograph in enumerate(photographs[:8]):
        Image.fromarray(photograph).save(tmp_path / "photos" / f"{index}.png")
    kyb.export_weights(kyb.v8("n"), tmp_path / "yolov8s.safetensors")
    (tmp_path / "best.pt").write_bytes((tmp_path / "yolov8s.safetensors").read_bytes())
    (tmp_path / "yolov8s.safetensors").rename(tmp_path / "yolov8s.pt")
    names = {}
    names["batches"] = Batches(names)
    for language, content in blocks("README.md"):
        if language == "python" and "host:8500" not in content:  # the client has tests with a server of their own
            for long, short in SMALL.items():
                content = content.replace(long, short)
            exec(compile(content, "README.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} >= {"v8s.tflite", "v8s.onnx", "serving", "detector.tflite"}
    assert set(LiteModel(tmp_path / "detector.tflite").tensors()) >= {"P3_boxes", "P5_scores"}


def test_the_documents_are_found():
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= {str(document) for document in DOCUMENTS}
