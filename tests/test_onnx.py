"""ONNX files: names, operators, Transposes, agreement."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from conftest import SIDE, disturbed
from onnx import TensorProto, helper

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx import converting, exporter
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.export.onnx.transposes import cancel_transposes

OPERATORS = {"Conv": 31, "Clip": 31, "Add": 6, "Concat": 5, "MaxPool": 3}


@pytest.fixture(scope="module")
def files(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("onnx")
    return {layout: kyb.export_onnx(model, folder / f"{layout}.onnx", layout=layout) for layout in exporter.LAYOUTS}


def test_transposes_only_at_the_borders(files):
    """One for the input and one for each output in NHWC, none in NCHW."""
    assert files["nhwc"].manifest["operators"] == OPERATORS | {"Transpose": 4}
    assert files["nchw"].manifest["operators"] == OPERATORS


@pytest.mark.parametrize("layout", exporter.LAYOUTS)
def test_onnxruntime_agrees_for_any_batch(files, model, layout):
    images = np.random.default_rng(0).random((3, SIDE, SIDE, 3), np.float32)
    outputs = run_onnx(files[layout].path, "images", images, layout)
    for level, value in model.predict_on_batch(images).items():
        assert np.abs(outputs[level] - value).max() < 1e-4 * np.abs(value).max()


def test_names_shapes_and_opset(files):
    def shapes(values):
        return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}

    proto = onnx.load(files["nhwc"].path)
    assert shapes(proto.graph.input) == {"images": ["batch", 64, 64, 3]}
    assert shapes(proto.graph.output) == {
        "P3": ["batch", 8, 8, 64],
        "P4": ["batch", 4, 4, 128],
        "P5": ["batch", 2, 2, 256],
    }
    assert shapes(onnx.load(files["nchw"].path).graph.output)["P4"] == ["batch", 128, 4, 4]
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == 17
    assert files["nchw"].manifest["input"]["shape"] == [None, 3, 64, 64]
    assert files["nchw"].manifest["outputs"]["P4"]["shape"] == [128, 4, 4]


@pytest.mark.parametrize("layout", exporter.LAYOUTS)
def test_open_axes_have_names(tmp_path, layout):
    """Of the images batch, height and width; the size of a level is its own."""
    model = disturbed(kyb.v8("n", input_shape=(None, None, 3), levels=("P3", "P5"), spp=False))
    graph = onnx.load(kyb.export_onnx(model, tmp_path / "open.onnx", layout=layout).path).graph
    for prefix, value, channels in zip(("", "P3_", "P5_"), (*graph.input, *graph.output), (3, 64, 256), strict=True):
        found = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        sides = [f"{prefix}height", f"{prefix}width"]
        assert found == ["batch", *([*sides, channels] if layout == "nhwc" else [channels, *sides])]


def test_metadata(files, tmp_path):
    proto = onnx.load(files["nchw"].path)
    found = {entry.key: entry.value for entry in proto.metadata_props}
    assert (found["model"], found["layout"]) == ("v8-n", "NCHW")
    assert json.loads(found["levels"]) == {
        "P3": {"stride": 8, "channels": 64},
        "P4": {"stride": 16, "channels": 128},
        "P5": {"stride": 32, "channels": 256},
    }
    assert json.loads(found["preprocessing"]) == files["nchw"].manifest["preprocessing"]
    pixels = kyb.v8("n", input_shape=(32, 32, 3), include_rescaling=True)
    proto = onnx.load(kyb.export_onnx(pixels, tmp_path / "pixels.onnx").path)
    found = {entry.key: entry.value for entry in proto.metadata_props}
    assert (json.loads(found["preprocessing"])["range"], found["layout"]) == ([0, 255.0], "NHWC")


@pytest.mark.parametrize("opset", [13, 21])
def test_other_opsets(tmp_path, opset):
    model = disturbed(kyb.v8("n", input_shape=(32, 32, 3)))
    proto = onnx.load(kyb.export_onnx(model, tmp_path / "m.onnx", opset=opset).path)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == opset


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 99}, "unknown opset: 99"),
        ({"opset": 12}, "Allowed: 13, 14, 15, 16, 17, 18, 19, 20, 21."),
        ({"layout": "nwhc"}, "unknown layout: 'nwhc'; did you mean 'nhwc'?"),
    ],
)
def test_bad_options(tmp_path, model, options, message):
    with pytest.raises(kyb.ArgumentError) as caught:
        kyb.export_onnx(model, tmp_path / "m.onnx", **options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_that_disagrees_is_not_published(tmp_path, model, monkeypatch):
    other = disturbed(kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3)), seed=9)
    monkeypatch.setattr(exporter, "deployable", lambda _: kyb.fuse(other))
    with pytest.raises(kyb.ExportError, match=r"m.onnx does not follow the model: P3"):
        kyb.export_onnx(model, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_bug_of_our_own_is_no_refusal_of_the_converter(tmp_path, model, monkeypatch):
    def broken(_):
        raise KeyError("a bug")

    monkeypatch.setattr(converting, "cancel_transposes", broken)
    with pytest.raises(KeyError, match="a bug"):
        kyb.export_onnx(model, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_what_the_converter_refuses_is_named(tmp_path, model, monkeypatch):
    import tf2onnx

    def refuse(*_, **__):
        raise ValueError("no such operator\nat node 7")

    monkeypatch.setattr(tf2onnx.convert, "from_function", refuse)
    with pytest.raises(kyb.ExportError, match=r"cannot be converted to ONNX: no such operator$") as caught:
        kyb.export_onnx(model, tmp_path / "a.onnx")
    assert isinstance(caught.value.__cause__, ValueError)


def transposed_twice(second: list[int]) -> onnx.GraphProto:
    nodes = [
        helper.make_node("Transpose", ["x"], ["out"], perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["out"], ["back"], perm=second),
        helper.make_node("Relu", ["back"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 3, 4]) for name in ("x", "out", "y")]
    return helper.make_graph(nodes, "g", values[:1], values[1:])


EINSUMS = {"v10-n": 2, "v11-n": 2, "v12-n": 40, "v12-turbo-n": 40, "v26-n": 2}
"""Two for each attention, of v12's eight four have four areas: 4 · 2 + 4 · 4 · 2."""


@pytest.mark.parametrize("layout", exporter.LAYOUTS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "v11-n")) for name in EINSUMS])
def test_attention_adds_no_transposes(tmp_path, name, layout):
    """The comparison with the model is part of the export."""
    attention = disturbed(kyb.create(name, input_shape=(SIDE, SIDE, 3)))
    operators = kyb.export_onnx(attention, tmp_path / "m.onnx", layout=layout).manifest["operators"]
    assert operators.get("Transpose", 0) == {"nhwc": 4, "nchw": 0}[layout]
    assert operators["Einsum"] == EINSUMS[name]
    assert not {"MatMul", "Shape", "Gather", "Slice", "Cast"} & set(operators)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "opset"), [("v11-n", 18), ("v12-turbo-n", 13)])
def test_attention_adds_no_transposes_where_the_image_size_is_open(tmp_path, name, opset):
    attention = kyb.create(name, input_shape=(None, None, 3))
    file = kyb.export_onnx(attention, tmp_path / "m.onnx", opset=opset)
    assert (file.manifest["operators"]["Transpose"], file.manifest["operators"]["Einsum"]) == (4, EINSUMS[name])
    images = np.random.default_rng(0).random((1, 96, 160, 3), np.float32)
    outputs = run_onnx(file.path, "images", images)
    for level, value in attention.predict_on_batch(images).items():
        assert np.abs(outputs[level] - value).max() < 1e-3 * np.abs(value).max()


@pytest.mark.parametrize("name", ["v8-n", "v11-n"])
def test_openvino_agrees(tmp_path, name):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    model = disturbed(kyb.create(name, activation="relu6", input_shape=(SIDE, SIDE, 3)))
    file = kyb.export_onnx(model, tmp_path / "m.onnx")
    images = np.random.default_rng(0).random((3, SIDE, SIDE, 3), np.float32)
    compiled = openvino.Core().compile_model(str(file.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled(images)
    found = {output.get_any_name(): results[output] for output in compiled.outputs}
    for level, value in model.predict_on_batch(images).items():
        assert np.abs(found[level] - value).max() < 5e-4 * np.abs(value).max()


def test_transposes_that_undo_each_other_are_cancelled():
    graph = transposed_twice([0, 3, 1, 2])
    assert cancel_transposes(graph) == 1
    assert [(node.op_type, list(node.input)) for node in graph.node] == [("Transpose", ["x"]), ("Relu", ["x"])]


def test_other_transposes_stay():
    graph = transposed_twice([0, 2, 3, 1])
    assert cancel_transposes(graph) == 0
    assert len(graph.node) == 3
