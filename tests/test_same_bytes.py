"""The same model gives the same bytes, in the same process and in others."""

from __future__ import annotations

import numpy as np
import onnx
from conftest import in_subprocess
from onnx import TensorProto, helper

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx.stable import stabilize

CODE = """
import sys
import numpy as np
import keras_yolo_backbones as kyb

def export(out):
    model = kyb.v8("n", activation="relu6", input_shape=(32, 32, 3), name="same")
    random = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([random.uniform(0.1, 0.2, weight.shape) for weight in layer.get_weights()])
    kyb.export_onnx(model, f"{out}/same.onnx")
    kyb.export_saved_model(model, f"{out}/same", batch_sizes=(1,))
"""


def test_all_files_are_the_same_in_every_process(tmp_path):
    """This process has built and exported other networks; the other one has not."""
    kyb.fuse(kyb.v8("n", input_shape=(32, 32, 3)))
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    scope = {}
    exec(CODE, scope)
    scope["export"](tmp_path / "here")
    in_subprocess(f"{CODE}\nexport({str(tmp_path / 'there')!r})", timeout=1200)
    here, there = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "here", tmp_path / "there")
    )
    assert {"same.onnx", "same.onnx.json", "same/1/saved_model.pb", "same/1/manifest.json"} < set(here)
    assert sorted(here) == sorted(there)
    assert [name for name in here if here[name] != there[name]] == []


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
