"""Int8 ONNX files: the integers of the TFLite file, in a form that runtimes compute in integers."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx
import pytest
from onnxfiles import Digits, Graph, optimized, same, shares
from quantized import share_equal

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.litert import LiteModel


@pytest.fixture(scope="module")
def relu6(make_digits, tmp_path_factory):
    return Digits(make_digits, "relu6", tmp_path_factory.mktemp("relu6"))


@pytest.fixture(scope="module")
def graph(relu6):
    return Graph(onnx.load(relu6.onnx.path).graph)


def test_both_files_of_a_plan_give_the_same_integers(relu6):
    assert all(same(run_onnx(relu6.onnx.path, "images", relu6.images), relu6.wanted))


def test_the_tflite_file_is_equal_to_its_model(relu6):
    found = share_equal(relu6.tflite.path, relu6.aware, relu6.images)
    assert set(found) == {"P3", "P4", "scores", "boxes"}
    assert min(found.values()) >= 0.9999, found


def test_without_optimizations_most_images_give_the_same_integers(relu6):
    """Convolutions are float then. One sum in 100,000 falls to the other side, and its image differs from there on."""
    given = run_onnx(relu6.onnx.path, "images", relu6.images, optimized=False)
    assert sum(same(given, relu6.wanted)) >= 0.75 * len(relu6.images)
    found = shares(given, relu6.wanted, relu6.onnx.manifest["integers"])
    assert min(found.values()) >= 0.98, found


@pytest.mark.slow
def test_both_files_of_a_plan_with_silu(make_digits, tmp_path):
    """Optimized, onnxruntime computes as LiteRT does; as float operators, one step in a sigmoid makes several."""
    silu = Digits(make_digits, "silu", tmp_path)
    integers = silu.onnx.manifest["integers"]
    assert all(same(run_onnx(silu.onnx.path, "images", silu.images), silu.wanted))
    found = shares(run_onnx(silu.onnx.path, "images", silu.images, optimized=False), silu.wanted, integers)
    assert min(found.values()) >= 0.9, found


def test_onnxruntime_computes_in_integers(relu6, tmp_path):
    found = optimized(relu6.onnx.path, tmp_path)
    assert found["QLinearConv"] == relu6.onnx.manifest["operators"]["Conv"] == 28
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, len(relu6.wanted))
    assert set(found) <= {
        *("QLinearConv", "QLinearAdd", "QLinearConcat", "Clip", "Resize", "QuantizeLinear", "DequantizeLinear")
    }


def test_kernels_have_a_scale_a_channel_and_biases_that_of_input_times_kernel(graph):
    assert len(graph.of("Conv")) == 28
    for conv in graph.of("Conv"):
        source, kernel, bias = (graph.makers[name] for name in conv.input)
        assert {node.op_type for node in (source, kernel, bias)} == {"DequantizeLinear"}
        integers, scales = graph.value(kernel, 0), graph.value(kernel, 1)
        assert (integers.dtype, scales.shape) == (np.int8, (integers.shape[0],))
        assert (np.abs(integers).reshape(len(integers), -1).max(axis=1) == 127).all()
        assert {entry.name: entry.i for entry in kernel.attribute}["axis"] == 0
        assert graph.value(bias, 0).dtype == np.int32
        np.testing.assert_allclose(graph.value(bias, 1), graph.value(source, 1) * scales, rtol=1e-6)


def test_what_meets_in_a_concat_has_one_scale_and_sums_take_rounded_tensors(graph, relu6):
    for concat in graph.of("Concat"):
        scales = {float(graph.value(graph.makers[name], 1)) for name in concat.input}
        assert len(scales) == 1
    assert len(graph.of("Add")) == 5
    for add in graph.of("Add"):
        assert [graph.makers[name].op_type for name in add.input] == ["DequantizeLinear"] * 2
    scale = float(graph.constants["stage3.cv2.act.scale"])
    assert scale == pytest.approx(relu6.plan.scale("stage3.cv2.act"))


def test_zero_points_are_those_of_tflite_plus_128(relu6):
    lite = LiteModel(relu6.tflite.path).tensors()
    for name, tensor in relu6.onnx.manifest["integers"].items():
        assert tensor["scale"] == pytest.approx(lite[name]["scale"], rel=1e-6)
        assert tensor["zero_point"] == lite[name]["zero_point"] + 128


def test_a_symmetric_model_has_zero_points_of_0_and_the_integers_of_tflite(relu6, tmp_path, make_digits):
    images = make_digits(64, seed=1000, training=True).images
    aware = kyb.quantize_aware(relu6.model, images, symmetric=True, method="minmax")
    file = kyb.export_onnx(aware, tmp_path / "s.onnx", scheme="symmetric", layout="nhwc")
    graph = Graph(onnx.load(file.path).graph)
    for node in (*graph.of("QuantizeLinear"), *graph.of("DequantizeLinear")):
        assert not graph.value(node, 2).any()
    assert {graph.value(node, 2).dtype for node in graph.of("QuantizeLinear")} == {np.dtype(np.int8)}
    wanted = LiteModel(kyb.export_tflite(aware, tmp_path / "s.tflite").path)(relu6.images)
    # onnxruntime computes the convolutions of the int8 file in float: a sum that float32 rounds to the other side, one
    # in 100,000, changes what comes after it in its image.
    given = run_onnx(file.path, "images", relu6.images)
    found = shares(given, wanted, file.manifest["integers"])
    assert min(found.values()) >= 0.95, found
    assert sum(same(given, wanted)) >= 0.5 * len(relu6.images)
    unsigned = kyb.export_onnx(aware, tmp_path / "u.onnx", scheme="asymmetric")
    given = run_onnx(unsigned.path, "images", relu6.images)
    assert {entry["zero_point"] for entry in unsigned.manifest["integers"].values()} == {128}
    assert all(same(given, wanted))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float32"}, "is fake-quantized: its file is int8"),
        ({"calibration": "photos"}, "holds its ranges; leave out calibration and method"),
        ({"keep_float": ["stage3"]}, "say keep_float=… to quantize_aware"),
        ({"scheme": "symmetric"}, "has asymmetric ranges; make it by quantize_aware(…, symmetric=True)"),
    ],
)
def test_bad_options_of_fake_quantized_models(relu6, tmp_path, options, message):
    with pytest.raises(kyb.ArgumentError) as caught:
        kyb.export_onnx(relu6.aware, tmp_path / "m.onnx", **options)
    assert message in str(caught.value)


def test_openvino_computes_in_integers(relu6):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    compiled = openvino.Core().compile_model(str(relu6.onnx.path), "CPU")
    kinds = Counter()
    for operator in compiled.get_runtime_model().get_ordered_ops():
        info = operator.get_rt_info()
        if info["layerType"].astype(str) == "Convolution":
            kinds[info["primitiveType"].astype(str).rsplit("_", 1)[-1]] += 1
    assert kinds == {"I8": 28}
    results = compiled(relu6.images)
    given = {output.get_any_name(): results[output] for output in compiled.outputs}
    found = shares(given, relu6.wanted, relu6.onnx.manifest["integers"])
    assert min(found.values()) >= 0.9, found


def test_a_detector_with_names_of_its_own(relu6, tmp_path):
    """Levels are told by their strides, and enlargement is written in a way that is not deprecated."""
    file = kyb.export_onnx(relu6.model, tmp_path / "float.onnx")
    proto = onnx.load(file.path)
    found = json.loads({entry.key: entry.value for entry in proto.metadata_props}["levels"])
    assert {name: level["stride"] for name, level in found.items()} == {"P3": 8, "P4": 16, "boxes": 8, "scores": 8}
    (resize,) = (node for node in proto.graph.node if node.op_type == "Resize")
    modes = {entry.name: entry.s for entry in resize.attribute if entry.s}
    assert (modes["coordinate_transformation_mode"], modes["nearest_mode"]) == (b"asymmetric", b"floor")
