"""Int8 ONNX files: the integers of the TFLite file, in a form that runtimes compute in integers."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantized import small, trained_digits

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.onnx import exporter
from keras_yolo_backbones.export.onnx.activations import absorb_activations
from keras_yolo_backbones.export.onnx.editing import Editing
from keras_yolo_backbones.export.onnx.grids import Grid
from keras_yolo_backbones.export.onnx.running import run_onnx
from keras_yolo_backbones.export.onnx.steps import compare_steps
from keras_yolo_backbones.export.onnx.weights import quantize_weights
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.litert import LiteModel

LEVELS = onnxruntime.GraphOptimizationLevel
UINT8 = np.dtype(np.uint8)


def optimized(path, folder) -> Counter:
    """The operators that onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def run_at(path, images, level) -> dict[str, np.ndarray]:
    """Outputs of a file in onnxruntime at a level of optimization."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def shares(a, b, integers) -> dict[str, float]:
    """Output name -> share of the values of two files that are at most a step apart."""
    distances = {name: np.rint(np.abs(a[name] - b[name]) / integers[name]["scale"]) for name in a}
    return {name: float(np.mean(distance <= 1)) for name, distance in distances.items()}


class Digits:
    """The trained detector, fake-quantized, and its two files."""

    def __init__(self, data, detector, activation, folder):
        self.model = trained_digits(detector, activation)
        self.plan = kyb.quantization.plan(self.model, data.make_digits(64, seed=1000, training=True).images)
        self.aware = kyb.quantize_aware(self.model, self.plan)
        self.onnx = kyb.export_onnx(self.aware, folder / "a.onnx")
        self.tflite = kyb.export_tflite(self.aware, folder / "a.tflite")
        self.images = np.float32(data.make_digits(16, seed=2000, training=False).images) / 255
        self.wanted = LiteModel(self.tflite.path)(self.images)


@pytest.fixture(scope="module")
def relu6(digits_example, tmp_path_factory):
    return Digits(*digits_example, "relu6", tmp_path_factory.mktemp("relu6"))


@pytest.fixture(scope="module")
def v8(photographs):
    return small("v8-n", "relu6", photographs)


@pytest.fixture(scope="module")
def graph(relu6):
    return Graph(onnx.load(relu6.onnx.path).graph)


class Graph:
    """A file's operators by what they make, and its constants."""

    def __init__(self, graph):
        self.nodes = list(graph.node)
        self.makers = {name: node for node in graph.node for name in node.output}
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def of(self, kind):
        return [node for node in self.nodes if node.op_type == kind]

    def value(self, node, position):
        """A constant that an operator takes."""
        return self.constants[node.input[position]]


def same(given, wanted) -> list[bool]:
    """Image by image, whether all integers of all outputs are the same."""
    count = len(next(iter(wanted.values())))
    return [all(np.allclose(given[name][i], wanted[name][i], atol=1e-4) for name in wanted) for i in range(count)]


def test_both_files_of_a_plan_give_the_same_integers(relu6):
    assert all(same(run_at(relu6.onnx.path, relu6.images, LEVELS.ORT_ENABLE_ALL), relu6.wanted))


def test_without_optimizations_most_images_give_the_same_integers(relu6):
    """Convolutions are float then. One sum in 100,000 falls to the other side, and its image differs from there on."""
    given = run_at(relu6.onnx.path, relu6.images, LEVELS.ORT_DISABLE_ALL)
    assert sum(same(given, relu6.wanted)) >= 0.75 * len(relu6.images)
    found = shares(given, relu6.wanted, relu6.onnx.manifest["integers"])
    assert min(found.values()) >= 0.98, found


@pytest.mark.slow
def test_both_files_of_a_plan_with_silu(digits_example, tmp_path):
    """Optimized, onnxruntime computes as LiteRT does; as float operators, one step in a sigmoid makes several."""
    silu = Digits(*digits_example, "silu", tmp_path)
    integers = silu.onnx.manifest["integers"]
    assert all(same(run_at(silu.onnx.path, silu.images, LEVELS.ORT_ENABLE_ALL), silu.wanted))
    found = shares(run_at(silu.onnx.path, silu.images, LEVELS.ORT_DISABLE_ALL), silu.wanted, integers)
    assert min(found.values()) >= 0.9, found


def test_onnxruntime_computes_in_integers(relu6, tmp_path):
    found = optimized(relu6.onnx.path, tmp_path)
    assert found["QLinearConv"] == relu6.onnx.manifest["operators"]["Conv"] == 28
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, len(relu6.wanted))
    assert set(found) <= {
        *("QLinearConv", "QLinearAdd", "QLinearConcat", "Clip", "Resize", "QuantizeLinear", "DequantizeLinear")
    }


SMALLEST = (
    *("v3-tiny", "v4-tiny", "v5-n", "v6-n", "v7-tiny", "v8-n", "v9-t", "v10-n", "v11-n", "v12-n", "v13-n", "v26-n"),
    *("yolox-nano", "rtmdet-tiny", "ppyoloe-s", "damo-ns", "nas-s"),
)
"""The smallest network of each family."""

ROUNDED_OTHERWISE = {
    **dict.fromkeys(("v10-n", "v11-n", "v12-n", "v13-n", "v26-n"), "attention"),  # BATCH_MATMUL rounds twice
    **dict.fromkeys(("rtmdet-tiny", "ppyoloe-s"), "gate"),  # the converter rounds the bias of its convolution
    "nas-s": "sums",
    "v9-t": "products",  # one in a thousand of SiLU's
}
"""Networks for which LiteRT computes something otherwise than the plan says, and what; random weights amplify it."""


@pytest.mark.slow
@pytest.mark.parametrize("activation", [None, "relu6"])
@pytest.mark.parametrize("name", SMALLEST)
def test_every_family_in_integers(name, activation, photographs, tmp_path):
    """Nothing is computed in float, and the integers are those of TFLite where LiteRT computes as the plan says."""
    model = small(name, activation, photographs)
    plan = kyb.quantization.plan(model, photographs)
    file = kyb.export_onnx(model, tmp_path / "m.onnx", precision="int8", calibration=plan)
    found = optimized(file.path, tmp_path)
    assert found["QLinearConv"] == file.manifest["operators"]["Conv"]
    assert not {"Conv", "FusedConv", "MatMul", "Einsum", "Sigmoid", "Add", "Mul"} & set(found)
    assert (found["QuantizeLinear"], found["DequantizeLinear"]) == (1, 3)
    lite = kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=plan, least_snr_db=-100)
    images = np.float32(photographs) / 255
    given = run_at(file.path, images, LEVELS.ORT_ENABLE_ALL)
    least = min(shares(given, LiteModel(lite.path)(images), file.manifest["integers"]).values())
    assert least >= (0.6 if name in ROUNDED_OTHERWISE else 0.99), least


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


def test_a_symmetric_model_has_zero_points_of_0_and_the_integers_of_tflite(relu6, tmp_path, digits_example):
    images = digits_example[0].make_digits(64, seed=1000, training=True).images
    aware = kyb.quantize_aware(relu6.model, images, symmetric=True)
    file = kyb.export_onnx(aware, tmp_path / "s.onnx", scheme="symmetric", layout="nhwc")
    graph = Graph(onnx.load(file.path).graph)
    for node in (*graph.of("QuantizeLinear"), *graph.of("DequantizeLinear")):
        assert not graph.value(node, 2).any()
    assert {graph.value(node, 2).dtype for node in graph.of("QuantizeLinear")} == {np.dtype(np.int8)}
    wanted = LiteModel(kyb.export_tflite(aware, tmp_path / "s.tflite").path)(relu6.images)
    # onnxruntime computes the convolutions of the int8 file in float: a sum that float32 rounds to the other side, one
    # in 100,000, changes what comes after it in its image.
    given = run_at(file.path, relu6.images, LEVELS.ORT_ENABLE_ALL)
    found = shares(given, wanted, file.manifest["integers"])
    assert min(found.values()) >= 0.95, found
    assert sum(same(given, wanted)) >= 0.5 * len(relu6.images)
    unsigned = kyb.export_onnx(aware, tmp_path / "u.onnx", scheme="asymmetric")
    given = run_at(unsigned.path, relu6.images, LEVELS.ORT_ENABLE_ALL)
    assert {entry["zero_point"] for entry in unsigned.manifest["integers"].values()} == {128}
    assert all(same(given, wanted))


def test_raw_integers_at_the_ends(v8, photographs, tmp_path):
    plan = kyb.quantization.plan(v8, photographs)
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


def test_kernels_of_7_bits_cannot_overflow_16(v8, photographs, tmp_path):
    plan = kyb.quantization.plan(v8, photographs)
    options = {"precision": "int8", "calibration": plan}
    file = kyb.export_onnx(v8, tmp_path / "7.onnx", reduce_range=True, **options)
    graph = Graph(onnx.load(file.path).graph)
    kernels = [graph.value(graph.makers[conv.input[1]], 0) for conv in graph.of("Conv")]
    assert len(kernels) == 31
    for kernel in kernels:
        assert (np.abs(np.int32(kernel)).reshape(len(kernel), -1).max(axis=1) == 63).all()
    # Two products of uint8 and such kernels fit into int16, and the coarser kernels cost less than their one bit.
    assert 2 * 255 * 63 <= np.iinfo(np.int16).max < 2 * 255 * 127
    assert file.manifest["kernel_bits"] == 7
    assert min(level["within_1"] for level in file.manifest["steps"].values()) > 0.8
    whole = kyb.export_onnx(v8, tmp_path / "8.onnx", **options)
    before, after = (entry.manifest["agreement"] for entry in (whole, file))
    lost = [before[name]["snr_db"] - after[name]["snr_db"] for name in ("P3", "P4", "P5")]
    assert min(lost) > 0
    assert max(lost) < 7


@pytest.mark.parametrize("opset", [13, 21])
def test_opsets_and_metadata(v8, photographs, tmp_path, opset):
    file = kyb.export_onnx(v8, tmp_path / "m.onnx", precision="int8", calibration=photographs, opset=opset)
    proto = onnx.load(file.path)
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == opset
    found = json.loads({entry.key: entry.value for entry in proto.metadata_props}["quantization"])
    assert (found["scheme"], found["io"]) == ("asymmetric", "float32")
    assert found["integers"] == file.manifest["integers"]
    assert found["integers"]["images"] == {"dtype": "uint8", "scale": pytest.approx(1 / 255), "zero_point": 0}
    batch = [value.type.tensor_type.shape.dim[0].dim_param for value in proto.graph.output]
    assert batch == ["batch"] * 3


def test_float_layers_stay_float_with_the_fewest_pairs(v8, photographs, tmp_path):
    options = {"precision": "int8", "calibration": photographs}
    whole = kyb.export_onnx(v8, tmp_path / "whole.onnx", **options)
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


def test_a_file_that_is_steps_away_is_not_published(v8, photographs, tmp_path, monkeypatch):
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
        kyb.export_onnx(v8, tmp_path / "m.onnx", precision="int8", calibration=photographs)
    assert list(tmp_path.iterdir()) == []


def test_steps_are_counted(relu6):
    wanted = run(relu6.aware, relu6.images[:1])
    grids = {
        name: Grid(entry["scale"], entry["zero_point"], UINT8)
        for name, entry in relu6.onnx.manifest["integers"].items()
    }
    moved = {name: value.copy() for name, value in wanted.items()}
    half = moved["P3"].size // 2
    moved["P3"].ravel()[:half] += 2 * grids["P3"].scale
    found = compare_steps(relu6.aware, lambda _: moved, [relu6.images[:1]], grids, what="f")
    assert found["P3"] == {"equal": 0.5, "within_1": 0.5, "within_2": 1.0}
    assert found["P4"] == {"equal": 1.0, "within_1": 1.0, "within_2": 1.0}


def convolution(kernel, bias, behind=()) -> onnx.ModelProto:
    """A rounded input of step 1/16, a convolution, and operators behind it."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["r"]),
        helper.make_node("Conv", ["r", "w", "b"], ["y"], name="stem/Conv"),
        *behind,
    ]
    constants = {"s": np.float32(1 / 16), "z": np.uint8(0), "w": kernel, "b": bias}
    constants |= {"t": np.float32(12 / 255), "zero": np.float32(0), "six": np.float32(6)}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    if behind:
        values[1].name = behind[-1].output[0]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], tensors))


def test_a_bias_that_no_int32_could_hold_makes_its_kernel_coarser():
    kernel = np.float32([1e-12, 0.5]).reshape(2, 1, 1, 1)
    proto = convolution(kernel, np.float32([3.0, 3.0]))
    edit = Editing(proto.graph)
    quantize_weights(edit, UINT8)
    edit.finish()
    graph = Graph(proto.graph)
    scales, biases = graph.constants["stem.bias.scales"], graph.constants["stem.bias.int32"]
    np.testing.assert_allclose(biases * scales, [3.0, 3.0], rtol=1e-4)
    assert np.abs(biases).max() <= 2**30
    assert graph.constants["stem.kernel.int8"].ravel().tolist() == [0, 127]


def test_biases_are_rounded_in_double_precision_as_tflite_does():
    """Divided by the file's scales, which are float32, large ones were an integer away."""
    random = np.random.default_rng(0)
    kernel = np.float32(random.uniform(0.1, 0.3, (64, 1, 1, 1)))
    bias = np.float32(random.uniform(3, 30, 64))
    proto = convolution(kernel, bias)
    for tensor in proto.graph.initializer:
        if tensor.name == "s":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(1 / 255), "s"))
    edit = Editing(proto.graph)
    quantize_weights(edit, UINT8, {float(np.float32(1 / 255)): 1 / 255})
    edit.finish()
    found = Graph(proto.graph).constants["stem.bias.int32"]
    exact = np.float64(bias) / (1 / 255 * np.float64(kernel.ravel()) / 127)
    assert np.array_equal(found, np.rint(exact))
    rounded = np.float64(np.float32(1 / 255)) * np.float64(kernel.ravel() / np.float32(127))
    assert not np.array_equal(found, np.rint(np.float64(bias) / rounded))


def test_relu6_in_a_wider_range_becomes_a_limit_of_integers():
    behind = [
        helper.make_node("Clip", ["y", "zero", "six"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "t", "z"], ["i"]),
        helper.make_node("DequantizeLinear", ["i", "t", "z"], ["o"]),
    ]
    proto = convolution(np.ones((1, 1, 1, 1), np.float32), np.zeros(1, np.float32), behind)
    edit = Editing(proto.graph)
    absorb_activations(edit)
    edit.finish()
    graph = Graph(proto.graph)
    assert [node.op_type for node in graph.nodes[-4:]] == ["Conv", "QuantizeLinear", "Clip", "DequantizeLinear"]
    # 6 is 127.5 steps of 12/255, and ties go up.
    assert [int(graph.value(graph.nodes[-2], position)) for position in (1, 2)] == [0, 128]


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


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_the_report_of_an_onnx_file_is_that_of_the_tflite_file(v8, photographs, tmp_path, layout):
    plan = kyb.quantization.plan(v8, photographs)
    options = {"precision": "int8", "calibration": plan}
    file = kyb.export_onnx(v8, tmp_path / "a.onnx", layout=layout, **options)
    lite = kyb.export_tflite(v8, tmp_path / "a.tflite", **options)
    found, wanted = (kyb.quantization.report(v8, path, photographs[:4]) for path in (file.path, lite.path))
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
