"""A model as a folder, from disk and from a stand-in for the Hugging Face hub on loopback."""

from __future__ import annotations

import hashlib
import http.server
import sys
import threading
from typing import ClassVar

import golden
import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_yolo_backbones as kyb
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.pretrained import FILES

COMMIT = "c" * 40
IMAGE = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> keras.Model:
    """v10-n, whose attention has layers of this package's own, with weights that came from a file."""
    model = kyb.v10("n", input_shape=(64, 64, 3))
    measured = golden.load(golden.DATA / "golden" / "v10_n.npz")
    path = tmp_path_factory.mktemp("weights") / "yolov10n.safetensors"
    save_file({key: np.ascontiguousarray(tensor) for key, tensor in measured.tensors.items()}, path)
    kyb.load_weights(model, path)
    return model


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    return kyb.save_pretrained(source, tmp_path_factory.mktemp("out") / "v10-n")


def assert_same(a: keras.Model, b: keras.Model) -> None:
    for level, value in a(IMAGE).items():
        np.testing.assert_array_equal(b(IMAGE)[level], value)


def test_a_folder(source, folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "README.md"])
    model = kyb.load_pretrained(folder)
    assert_same(source, model)
    assert kyb.get_provenance(model) == kyb.get_provenance(source)


def test_the_card(source, folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    head = card.split("---\n")[1].splitlines()
    assert "license: agpl-3.0" in head
    assert "library_name: keras" in head
    assert "| P4 | 16 | 128 |" in card
    assert "Images: 64×64×3, RGB" in card
    assert f"sha256 `{kyb.get_provenance(source).sha256}`" in card
    assert "- network: v10-n" in card


def test_a_card_without_an_origin_and_of_one_with_a_licence_of_its_own():
    from keras_yolo_backbones.pretrained import model_card
    from keras_yolo_backbones.provenance import Provenance, set_provenance

    with without_values():
        model = kyb.v3("tiny", input_shape=(None, None, 3))
        assert "license: unknown" in model_card(model)
        assert "Images: any×any×3" in model_card(model)
        set_provenance(model, Provenance("y.weights", "0" * 64, "darknet", "v3-tiny", "Darknet", "LicenseRef-YOLO-2"))
        assert "license: other\nlicense_name: yolo-2" in model_card(model)


def test_nothing_is_replaced_and_nothing_half_written(source, folder, tmp_path):
    with pytest.raises(kyb.ExportError, match="exists already; choose another folder"):
        kyb.save_pretrained(source, folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(kyb.CheckpointError, match=r"no config\.json and no metadata\.json and no model\.weights\.h5"):
        kyb.load_pretrained(tmp_path / "empty")
    (tmp_path / "damaged").mkdir()
    for name in FILES:
        (tmp_path / "damaged" / name).write_bytes((folder / name).read_bytes()[:-100])
    with pytest.raises(kyb.CheckpointError, match="no model that Keras can open"):
        kyb.load_pretrained(tmp_path / "damaged")


class Hub(http.server.BaseHTTPRequestHandler):
    """What the client asks of a hub: which files a revision has, and each of them."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body: bool):
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        revisions = ("main", "v1.0", COMMIT)
        folder, _, name = path.rpartition("/")
        if folder in [f"/me/v10/resolve/{revision}" for revision in revisions] and name in self.files:
            content = self.files[name]
            self._send(content, hashlib.sha256(content).hexdigest(), body=body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, content: bytes, tag: str, *, body: bool):
        self.send_response(200)
        for key, value in (("Content-Length", len(content)), ("ETag", f'"{tag}"'), ("X-Repo-Commit", COMMIT)):
            self.send_header(key, str(value))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    Hub.files, Hub.asked = {path.name: path.read_bytes() for path in folder.iterdir()}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("hub")
@pytest.mark.filterwarnings("ignore")
def test_a_hub(source):
    assert_same(source, kyb.load_pretrained("hf://me/v10"))
    first, *others = dict.fromkeys(path.removeprefix("/me/v10/resolve/") for path in Hub.asked)
    assert first == "main/config.json"
    assert others == [f"{COMMIT}/metadata.json", f"{COMMIT}/model.weights.h5"]
    Hub.files["model.weights.h5"] = b"changed"
    assert_same(source, kyb.load_pretrained("hf://me/v10@v1.0"))  # the same commit, so from the cache
    with pytest.raises(kyb.CheckpointError, match=r"me/other: the hub did not give it: .*(404|not found)"):
        kyb.load_pretrained("hf://me/other")


def test_names_that_are_none_and_a_client_that_is_not_there(monkeypatch):
    with pytest.raises(kyb.ArgumentError, match="expected hf://user/name"):
        kyb.load_pretrained("hf://me")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(kyb.ArgumentError, match=r"pip install 'huggingface.hub"):
        kyb.load_pretrained("hf://me/v10")
