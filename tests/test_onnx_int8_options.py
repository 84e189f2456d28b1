"""Int8 ONNX files in all their forms: options, bad options, the gate, the report."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from onnxfiles import Graph, optimized
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx import exporter
from keras_yolo_backbones.export.onnx.running import run_onnx


@pytest.fixture(scope="module")
def v8(photographs):
    return small("v8-n", "relu6", photographs)


@pytest.fixture(scope="module")
def plan(v8, photographs):
    return kyb.quantization.plan(v8, photographs, method="minmax")


@pytest.fixture(scope="module")
def whole(v8, plan, tmp_path_factory):
    """The file of the plan, with no option."""
    return kyb.export_onnx(v8, tmp_path_factory.mktemp("whole") / "whole.onnx", precision="int8", calibration=plan)


@pytest.fixture(scope="module")
def wanted(v8, plan, photographs, tmp_path_factory):
    """The report of the plan's TFLite file."""
    path = tmp_path_factory.mktemp("lite") / "whole.tflite"
    kyb.export_tflite(v8, path, precision="int8", calibration=plan)
    return kyb.quantization.report(v8, path, photographs[:4])


def test_raw_integers_at_the_ends(v8, plan, photographs, tmp_path):
    options = {"precision": "int8", "calibration": plan, "layout": "nchw"}
    real = kyb.export_onnx(v8, tmp_path / "real.onnx", **options)
    raw = kyb.export_onnx(v8, tmp_path / "raw.onnx", io="int8", **options)
    graph = onnx.load(raw.path).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.output]}
    assert kinds == dict.fromkeys(("images", "P3", "P4", "P5"), TensorProto.UINT8)
    assert raw.manifest["input"]["dtype"] == "uint8"
    assert raw.manifest["input"]["zero_point"] == 0
    assert raw.manifest["input"]["scale"] == pytest.approx(1 / 255)
    session = onnxruntime.InferenceSession(str(raw.path), providers=["CPUExecutionProvider"])
    integers = session.run(["P4"], {"images": photographs.transpose(0, 3, 1, 2)})[0]
    grid = raw.manifest["outputs"]["P4"]
    wanted = run_onnx(real.path, "images", np.float32(photographs) / 255, "nchw")["P4"]
    given = (np.float32(integers) - grid["zero_point"]) * grid["scale"]
    np.testing.assert_allclose(given.transpose(0, 2, 3, 1), wanted, atol=1e-5)


def test_kernels_of_7_bits_cannot_overflow_16(v8, plan, whole, tmp_path):
    file = kyb.export_onnx(v8, tmp_path / "7.onnx", reduce_range=True, precision="int8", calibration=plan)
    graph = Graph(onnx.load(file.path).graph)
    kernels = [graph.value(graph.makers[conv.input[1]], 0) for conv in graph.of("Conv")]
    assert len(kernels) == 31
    for kernel in kernels:
        assert (np.abs(np.int32(kernel)).reshape(len(kernel), -1).max(axis=1) == 63).all()
    # Two products of uint8 and such kernels fit into int16, and the coarser kernels cost less than their one bit.
    assert 2 * 255 * 63 <= np.iinfo(np.int16).max < 2 * 255 * 127
    assert file.manifest["kernel_bits"] == 7
    assert min(level["within_1"] for level in file.manifest["steps"].values()) > 0.8
    before, after = (entry.manifest["agreement"] for entry in (whole, file))
    lost = [before[name]["snr_db"] - after[name]["snr_db"] for name in ("P3", "P4", "P5")]
    assert min(lost) > 0
    assert max(lost) < 7


@pytest.mark.parametrize("opset", [13, 21])
def test_opsets_and_metadata(v8, plan, tmp_path, opset):
    file = kyb.export_onnx(v8, tmp_path / "m.onnx", precision="int8", calibration=plan, opset=opset)
    proto = onnx.load(file.path)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == opset
    found = json.loads({entry.key: entry.value for entry in proto.metadata_props}["quantization"])
    assert (found["scheme"], found["io"]) == ("asymmetric", "float32")
    assert found["integers"] == file.manifest["integers"]
    assert found["integers"]["images"] == {"dtype": "uint8", "scale": pytest.approx(1 / 255), "zero_point": 0}
    batch = [value.type.tensor_type.shape.dim[0].dim_param for value in proto.graph.output]
    assert batch == ["batch"] * 3


def test_float_layers_stay_float_with_the_fewest_pairs(v8, photographs, whole, tmp_path):
    options = {"precision": "int8", "calibration": photographs, "method": "minmax"}
    kept = kyb.export_onnx(v8, tmp_path / "kept.onnx", keep_float=["stage3"], **options)
    graph = Graph(onnx.load(kept.path).graph)
    floats = [conv for conv in graph.of("Conv") if conv.input[1] in graph.constants]
    assert len(floats) == 7
    assert kept.manifest["float_layers"][0].startswith("stage3.")
    pairs = [file.manifest["operators"]["QuantizeLinear"] for file in (kept, whole)]
    assert pairs[0] < pairs[1]
    assert kept.manifest["agreement"]["P3"]["snr_db"] > whole.manifest["agreement"]["P3"]["snr_db"]
    assert optimized(kept.path, tmp_path)["QLinearConv"] == 24


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int7"}, "unknown precision: 'int7'; did you mean 'int8'?"),
        ({"precision": "int8"}, 'precision="int8" needs calibration=…'),
        ({"scheme": "symetric"}, "unknown scheme: 'symetric'; did you mean 'symmetric'?"),
        ({"io": "uint8"}, "unknown io: 'uint8'"),
        ({"io": "int8"}, "io, reduce_range and keep_float go with precision=\"int8\", not 'float32'"),
        ({"opset": 12, "precision": "int8"}, "unknown opset: 12"),
    ],
)
def test_bad_options(v8, tmp_path, options, message):
    with pytest.raises(kyb.ArgumentError) as caught:
        kyb.export_onnx(v8, tmp_path / "m.onnx", **options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_steps_away_is_not_published(v8, plan, tmp_path, monkeypatch):
    honest = exporter.quantized

    def shifted(*args, **options):
        proto, grids = honest(*args, **options)
        for tensor in proto.graph.initializer:
            if tensor.name == "stage3.cv2.conv.kernel.scales":
                tensor.CopyFrom(numpy_helper.from_array(np.float32(2) * numpy_helper.to_array(tensor), tensor.name))
        return proto, grids

    monkeypatch.setattr(exporter, "quantized", shifted)
    with pytest.raises(
        kyb.ExportError, match=r"m.onnx does not follow the fake-quantized model: of its values P3 \d+%"
    ):
        kyb.export_onnx(v8, tmp_path / "m.onnx", precision="int8", calibration=plan)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_the_report_of_an_onnx_file_is_that_of_the_tflite_file(v8, plan, wanted, photographs, tmp_path, layout):
    file = kyb.export_onnx(v8, tmp_path / "a.onnx", layout=layout, precision="int8", calibration=plan)
    found = kyb.quantization.report(v8, file.path, photographs[:4])
    for name, level in wanted.levels.items():
        assert found.levels[name].snr_db == pytest.approx(level.snr_db, abs=0.3)
    layers = {layer.name: layer for layer in found.layers}
    common = [layer for layer in wanted.layers if not layer.name.endswith(".pad")]  # ONNX' convolutions pad themselves
    assert {layer.name for layer in common} <= set(layers)
    # LiteRT's kernels that keep every tensor round twice, and random weights amplify that.
    assert np.median([abs(layers[layer.name].snr_db - layer.snr_db) for layer in common]) < 1.5
    assert found.conversions == file.manifest["operators"]["QuantizeLinear"]


def test_a_report_needs_a_file_with_integers(v8, photographs, tmp_path):
    file = kyb.export_onnx(v8, tmp_path / "float.onnx")
    with pytest.raises(kyb.ArgumentError, match="is no int8 ONNX file that export_onnx wrote"):
        kyb.quantization.report(v8, file.path, photographs[:2])
