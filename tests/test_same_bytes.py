"""The same model gives the same bytes, in the same process and in others."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
from conftest import in_subprocess
from onnx import TensorProto, helper

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx.stable import stabilize

CODE = """
import hashlib, json, sys
from pathlib import Path
import keras
import keras_yolo_backbones as kyb
keras.utils.set_random_seed(0)
kyb.v8("n", input_shape=(32, 32, 3)) if {disturbed} else None
model = kyb.v8("n", activation="relu6", input_shape=(32, 32, 3), name="same")
keras.utils.set_random_seed(1)
for layer in model.layers:
    layer.set_weights([keras.random.normal(w.shape, stddev=0.1).numpy() ** 2 for w in layer.get_weights()])
out = Path({out!r})
kyb.export_onnx(model, out / "a.onnx") if {disturbed} else None
kyb.export_onnx(model, out / "b.onnx")
kyb.export_saved_model(model, out / "same", batch_sizes=(1,))
"""


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """Of two processes, one of which has built and exported something before: file -> sha256."""
    found = []
    for disturbed in (False, True):
        out = tmp_path_factory.mktemp("out")
        in_subprocess(CODE.format(out=str(out), disturbed=disturbed))
        files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
        found.append({name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()})
        versions = json.loads(files["same/1/manifest.json"].read_text())["sha256"]
        assert versions["file"] == found[-1]["same/1/saved_model.pb"]
    return found


def test_all_files_of_all_exporters_are_the_same(digests):
    alone, after_others = digests
    assert {"b.onnx", "b.onnx.json", "same/1/saved_model.pb", "same/1/manifest.json"} < set(alone)
    assert {name: after_others[name] for name in alone} == alone
    assert after_others["a.onnx"] == after_others["b.onnx"]


def test_names_go_by_place_and_those_of_the_model_stay():
    nodes = [
        helper.make_node("Clip", ["images", "low__7", "high__3"], ["act/Relu6:0"], name="act/Relu6"),
        helper.make_node("Transpose", ["act/Relu6:0"], ["one/of/two:0"], name="one/of/two"),
        helper.make_node("Clip", ["one/of/two:0", "low__7", ""], ["P3"], name="act/Relu6__12"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("images", "P3")]
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("high__3", 6), ("low__7", 0))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], constants)
    stabilize(graph)
    assert [node.name for node in graph.node] == ["act/Relu6", "Transpose", "act/Relu6_1"]
    assert [list(node.input) for node in graph.node] == [
        ["images", "act/Relu6.1", "act/Relu6.2"],
        ["act/Relu6:0"],
        ["Transpose:0", "act/Relu6.1", ""],
    ]
    assert [list(node.output) for node in graph.node] == [["act/Relu6:0"], ["Transpose:0"], ["P3"]]
    assert {one.name: onnx.numpy_helper.to_array(one).item() for one in graph.initializer} == {
        "act/Relu6.1": 0.0,
        "act/Relu6.2": 6.0,
    }


def test_python_loads_what_was_renamed(tmp_path, model):
    """Not only the server's loader: `tf.saved_model.load` rebuilds functions and their gradients by name."""
    import tensorflow as tf

    artifact = kyb.export_saved_model(model, tmp_path / "v8n", batch_sizes=(1,))
    loaded = tf.saved_model.load(str(artifact.path))
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    outputs = loaded.signatures["serving_default"](tf.constant(images))
    for level, value in model.predict_on_batch(images).items():
        assert np.abs(outputs[level].numpy() - value).max() < 1e-4 * np.abs(value).max()
