"""What others may change without notice: one quick test for each, so that an upgrade fails here first, by name.

CONTRIBUTING shows the same table.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import re
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones import fragile
from keras_yolo_backbones.export.function import frozen_function, save_signatures
from keras_yolo_backbones.litert import operators, plain_interpreter
from keras_yolo_backbones.sides import MultipleOf

PACKAGE = ROOT / "keras_yolo_backbones"

GROUND = (
    ("Keras' notes of calls", "`_keras_history`, `_inbound_nodes`, their fields", "fragile.py"),
    ("Keras' layer configs", "`activation`, `use_bias`, `dtype`, `negative_slope`, `interpolation`", "graph/"),
    ("Names as strings", "modules `keras…`, `tf_keras…`; classes such as `LeakyReLU`, `AveragePool`", "quantization/"),
    ("Keras' weight files", "HDF5 groups `layers/…/vars`, the attribute `name`; names in `.keras`", "weights/readers/"),
    ("Fake quantization", "rounding of `keras.quantizers.fake_quant_with_min_max_vars`", "quantization/"),
    (
        "Kernels of LiteRT",
        "how XNNPACK and BATCH_MATMUL round (tests/test_simulated.py)",
        "quantization/simulated.py, export/onnx/",
    ),
    ("The C library", "`libtensorflow_cc` by ctypes, 24 bytes of a `TF_TString`", "export/tf_serving/session.py"),
    ("Warm-up messages", "field numbers of `PredictionLog`, protobuf's descriptors", "export/tf_serving/warmup.py"),
    ("TFLite converter", "`tf.lite`; names only from SavedModels; the text of a deprecation", "export/converter.py"),
    ("Names of TFLite tensors", "`stem.act_1/Relu6;stem.conv_1/BiasAdd` is `stem.act`", "quantization/reporting.py"),
    (
        "Sources of autograph",
        "`pyct.loader` writes them through its `tempfile.NamedTemporaryFile`",
        "fragile.py",
    ),
    ("TFLite as objects", "`tensorflow.lite.tools.flatbuffer_utils`", "fragile.py, export/"),
    ("TFLite's schema", "`ai_edge_litert.schema_py_generated`", "fragile.py, litert.py"),
    ("Recording interpreter", "`experimental_preserve_all_tensors`, `experimental_op_resolver_type`", "fragile.py"),
    (
        "LiteRT's operators",
        "`_get_ops_details`: those that a delegate adds come last",
        "fragile.py, targets/xnnpack.py",
    ),
    ("Vela's report", "columns of its two tables, the text of its warnings (tests/test_devices.py)", "targets/vela.py"),
    ("Logs of runtimes", "TFLite Micro's arena, OpenVINO's `runtimePrecision` (tests/test_devices.py)", "targets/"),
    ("tf2onnx' handlers", "`onnx_opset.math.Einsum.version_12`, `custom_op_handlers`", "export/onnx/einsum.py"),
    ("tf2onnx' optimizers", "`TF2ONNX_CATCH_ERRORS`: without it the graph is copied before each", "fragile.py"),
    ("tfmot's wrappers", "`quantize_config`, the prefix `quant_`, `TF_USE_LEGACY_KERAS`", "quantization/tfmot/"),
    ("Headers of images", "what `decode_image` takes for which format, `extract_jpeg_shape`", "pixel_limit.py"),
    ("Keras' input specs", "the sides of `InputSpec.shape` are compared by `!=`", "sides.py"),
    ("Keras' waiting variables", "the list `uninitialized_variables` of its global state", "fragile.py"),
    ("gRPC's retries", "keys of the service config, `ValueError` of a closed channel", "serving/client.py"),
)
"""What, what exactly of it, and where it is used."""


def table() -> str:
    """The table as CONTRIBUTING shows it."""
    rows = [f"| {' | '.join(row)} |" for row in GROUND]
    return "\n".join(["| ground | what is used | where |", "|---|---|---|", *rows])


def test_contributing_shows_the_same_table():
    assert table() in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        (r"experimental_", {"fragile.py"}),
        (r"_get_ops_details", {"fragile.py"}),
        (r"schema_py_generated", {"fragile.py"}),
        (r"flatbuffer_utils", {"fragile.py"}),
        (r"_keras_history|_inbound_nodes", {"fragile.py"}),
        (r"onnx_opset", {"export/onnx/einsum.py"}),
        (r"ctypes", {"export/tf_serving/session.py"}),
        (r"descriptor_pool", {"export/tf_serving/warmup.py"}),
        (r"tensorflow\.python", {"fragile.py"}),
        (r"keras\.src", {"fragile.py"}),
    ],
)
def test_fragile_ground_is_in_one_place(pattern, allowed):
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(pattern, re.sub(r'""".*?"""', "", path.read_text(), flags=re.DOTALL))
    }
    assert files <= allowed, f"{files - allowed}: use what is in {allowed or 'the public API'}"


def test_variables_without_values_stay_so_and_others_get_theirs():
    with fragile.without_values():
        bare = keras.layers.Dense(2)
        bare.build((None, 3))
    with keras.StatelessScope():
        usual = keras.layers.Dense(2)
        usual.build((None, 3))
        with fragile.without_values():
            inner = keras.layers.Dense(2)
            inner.build((None, 3))
    assert [layer.kernel._value is None for layer in (bare, usual, inner)] == [True, False, True]
    assert bare.kernel.shape == (3, 2)


def test_no_function_of_ours_is_rewritten_by_autograph():
    """It would write a source to the system's temporary folder, and a kill would leave it there."""
    traced = [
        (path.name, options)
        for path in PACKAGE.rglob("*.py")
        for options in re.findall(r"^(?!.*`).*tf\.function\b(.*)$", path.read_text(), flags=re.MULTILINE)
    ]
    assert len(traced) >= 10
    assert [one for one in traced if "autograph=False" not in one[1]] == []
    mapped = [
        (path, name)
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"dataset\.map\(([\w.]+)", path.read_text())
    ]
    assert len(mapped) == 1
    for path, name in mapped:
        assert f"autograph=False)\n        def {name.removeprefix('self._')}(" in path.read_text()


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)  # where no channel is ever positive, XNNPACK refuses the range
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(4, 3, name="stem.conv")(images)
    x = keras.layers.ReLU(6.0, name="stem.act")(x)
    return keras.Model(images, {"P3": keras.layers.MaxPooling2D(name="pool")(x)}, name="small")


@pytest.fixture(scope="module")
def lite(small, tmp_path_factory):
    """A TFLite file of it as `export_tflite` converts: int8 and with a signature."""
    folder = tmp_path_factory.mktemp("lite")

    call = frozen_function(small, tf.TensorSpec((1, 8, 8, 3), tf.float32, name="images"))
    save_signatures({"serving_default": call}, folder / "saved")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ({"images": np.full((1, 8, 8, 3), v, np.float32)} for v in (0, 1))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with pytest.warns(UserWarning, match=r"\s*Warning: tf.lite.Interpreter is deprecated"):
        content = converter.convert()
    (folder / "small.tflite").write_bytes(content)
    return folder / "small.tflite"


def test_keras_notes_of_calls(small):
    tensor = small.get_layer("stem.act").output
    call = fragile.call_of(tensor)
    assert fragile.maker_of(tensor).name == call.operation.name == "stem.act", "Keras: _keras_history has changed"
    (argument,) = call.arguments.keras_tensors
    assert fragile.maker_of(argument).name == "stem.conv", "Keras: Node.arguments has changed"
    assert [id(output) for output in call.outputs] == [id(tensor)], "Keras: Node.outputs has changed"
    assert fragile.calls_of(call.operation) == [call], "Keras: _inbound_nodes has changed"
    assert call.arguments.args[0] is argument, "Keras: the arguments of a Node have changed"


@pytest.mark.parametrize(
    ("layer", "keys"),
    [
        (keras.layers.Conv2D(1, 1), {"activation", "use_bias", "dtype", "kernel_size", "groups", "data_format"}),
        (keras.layers.Dense(1), {"activation", "use_bias"}),
        (keras.layers.LeakyReLU(), {"negative_slope"}),
        (keras.layers.UpSampling2D(), {"interpolation", "size"}),
        (keras.layers.BatchNormalization(), {"epsilon", "momentum", "axis", "synchronized"}),
        (keras.layers.Concatenate(), {"axis"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keras_layer_configs(layer, keys):
    missing = keys - set(layer.get_config())
    assert not missing, f"Keras: the config of {type(layer).__name__} has no {missing} any more"


def test_names_as_strings():
    import tf_keras

    assert fragile.toolbox_of(keras.layers.Conv2D(1, 1)) == "keras", "Keras: its package has a different name"
    assert fragile.toolbox_of(tf_keras.layers.Conv2D(1, 1)) == "tf_keras", "tf_keras: its package has a different name"
    for name in ("LeakyReLU", "Softmax", "AveragePooling2D", "UpSampling2D", "ZeroPadding2D", "Permute", "Cropping2D"):
        assert getattr(keras.layers, name).__name__ == name, f"Keras: {name} has a different name"
    images = keras.Input((8, 8, 3))
    pooled = keras.ops.average_pool(images, 2)
    assert type(fragile.maker_of(pooled)).__name__ == "AveragePool", "Keras: the operation AveragePool has another name"
    assert keras.activations.silu.__name__ == "silu", "Keras: silu has a different name"


def test_keras_weight_files(small, tmp_path):
    small.save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5") as file:
        (name,) = [
            name for name in file["layers"] if "vars" in file["layers"][name] and len(file["layers"][name]["vars"])
        ]
        variables = file["layers"][name]["vars"]
        assert sorted(variables) == ["0", "1"], "Keras: .weights.h5 numbers variables in a different way"
        assert variables["0"].shape == (3, 3, 3, 4), "Keras: .weights.h5 orders variables in a different way"
        assert variables.attrs["name"] == "stem.conv", "Keras: .weights.h5 does not say the layer's name"
    small.save(tmp_path / "a.keras")
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert "model.weights.h5" in archive.namelist(), "Keras: .keras files keep weights in a different place"
        assert json.loads(archive.read("config.json"))["class_name"] == "Functional"


def test_keras_input_specs():
    layer = keras.layers.ZeroPadding2D(1)
    layer.input_spec = keras.InputSpec(ndim=4)
    layer.input_spec.shape = (None, MultipleOf(8), MultipleOf(8), None)
    assert layer(np.zeros((1, 8, 16, 3))).shape == (1, 10, 18, 3)
    with pytest.raises(ValueError, match="a multiple of 8"):
        layer(np.zeros((1, 8, 12, 3)))


def test_fake_quantization_rounds_as_int8_does():
    values = np.float32([-1.0, 0.004, 0.5, 2.0])
    found = keras.quantizers.fake_quant_with_min_max_vars(values, -128 / 127, 1.0, num_bits=8)
    wanted = np.clip(np.rint(values * 127), -128, 127) / 127
    assert np.abs(np.asarray(found) - wanted).max() < 1e-6, (
        "Keras: fake_quant_with_min_max_vars rounds in a different way"
    )


def test_the_c_library(tmp_path):
    """Strings in, numbers out: the layout of strings and the enumeration of types are part of it."""
    from keras_yolo_backbones.export.tf_serving.session import ServingSession

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="files")])
    def lengths(files):
        return {"lengths": tf.strings.length(files)}

    tf.saved_model.save(tf.Module(), str(tmp_path), signatures={"serving_default": lengths})
    with ServingSession(tmp_path) as session:
        found = session.run({"files": [b"", b"short", b"longer than a string's own 24 bytes"]})
    assert found["lengths"].tolist() == [0, 5, 35], "TensorFlow: the layout of strings in its C library has changed"


def test_warm_up_messages():
    from tensorflow_serving.apis import prediction_log_pb2

    from keras_yolo_backbones.export.tf_serving import warmup

    log = warmup._message("PredictionLog")()
    log.predict_log.request.model_spec.name = "v8s"
    log.predict_log.request.inputs.add(key="images", value=tf.make_tensor_proto(7.0).SerializeToString())
    read = prediction_log_pb2.PredictionLog.FromString(log.SerializeToString()).predict_log.request
    assert read.model_spec.name == "v8s", "TF Serving: the message PredictionLog has changed"
    assert tf.make_ndarray(read.inputs["images"]) == 7, "TF Serving: the inputs of PredictRequest have changed"


def test_the_converter_and_the_schema(lite):
    found = operators(lite)
    assert [operator.name for operator in found] == ["CONV_2D", "MAX_POOL_2D"], (
        "TFLite: ReLU6 is no part of the convolution any more"
    )
    assert {tensor.kind for tensor in found[0].inputs} == {"INT8", "INT32"}, "LiteRT: the schema has changed"
    assert found[0].outputs[0].shape == (1, 6, 6, 4)


def test_names_of_tflite_tensors_and_the_recording_interpreter(lite):
    interpreter = fragile.recording_interpreter(lite)
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()
    (before,) = [detail for detail in details if list(detail["shape"]) == [1, 6, 6, 4]]
    assert before["name"].startswith("stem.act_1/"), f"TFLite: tensors have other names than layers: {before['name']}"
    assert {"quantization_parameters", "quantization", "shape", "dtype", "index", "name"} <= set(details[0])
    assert len(before["quantization_parameters"]["scales"]) == 1
    runner = interpreter.get_signature_runner()
    assert list(runner.get_input_details()) == ["images"], "TFLite: the signature lost the input's name"
    assert list(runner.get_output_details()) == ["P3"], "TFLite: the signature lost the output's name"


def test_operators_of_a_delegate_come_last(lite):
    bare, plain = fragile.bare_interpreter(lite), plain_interpreter(lite)
    bare.allocate_tensors()
    plain.allocate_tensors()
    own, all_of_them = fragile.operator_list(bare), fragile.operator_list(plain)
    assert [entry["op_name"] for entry in own] == [operator.name for operator in operators(lite)]
    assert [entry["op_name"] for entry in all_of_them[len(own) :]] == ["DELEGATE"]
    assert {"op_name", "inputs", "outputs"} <= set(own[0])


def test_sources_of_autograph_lie_where_a_kill_leaves_nothing(tmp_path):
    @tf.function
    def traced(x):
        return x + 1

    with fragile.autograph_sources_in(tmp_path):
        traced(tf.constant(1))
    assert len(list(tmp_path.glob("__autograph_generated_file*.py"))) == 1, "TensorFlow: pyct.loader has changed"


def test_tflite_as_objects(lite):
    tools = fragile.lite_tools()
    model = tools.read_model_from_bytearray(bytearray(lite.read_bytes()))
    assert [tools.opcode_to_name(model, one.opcodeIndex) for one in model.subgraphs[0].operators] == [
        "CONV_2D",
        "MAX_POOL_2D",
    ]
    assert {"inputs", "outputs", "tensors"} <= set(vars(model.subgraphs[0]))
    again = bytes(tools.convert_object_to_bytearray(model))
    assert fragile.lite_schema().Model.GetRootAs(again, 0).SubgraphsLength() == 1


def test_tf2onnx_handlers():
    import tf2onnx
    from tf2onnx.onnx_opset.math import Einsum

    assert callable(Einsum.version_12), "tf2onnx: the handler of Einsum has another name"
    parameters = inspect.signature(tf2onnx.convert.from_function).parameters
    wanted = {"custom_op_handlers", "inputs_as_nchw", "outputs_as_nchw", "opset", "input_signature"}
    assert wanted <= set(parameters), f"tf2onnx: from_function has no {wanted - set(parameters)}"


def test_tfmot_wrappers():
    import tf_keras

    from keras_yolo_backbones.quantization.tfmot.engine import toolbox

    tools = toolbox().tfmot.quantization.keras
    layer = tf_keras.layers.Conv2D(1, 1, name="stem")
    annotated = tools.quantize_annotate_layer(layer)
    assert annotated.layer is layer, "tfmot: quantize_annotate_layer has changed"
    with tools.quantize_scope():
        model = tools.quantize_apply(
            tools.quantize_annotate_model(tf_keras.Sequential([tf_keras.Input((4, 4, 1), name="images"), layer]))
        )
    wrapped = [one for one in model.layers if one.name == "quant_stem"]
    assert wrapped, f"tfmot: wrapped layers have other names: {[one.name for one in model.layers]}"
    assert hasattr(wrapped[0], "quantize_config"), "tfmot: wrapped layers have no quantize_config"


def small_network():
    images = keras.Input((8, 8, 3), name="images")
    return keras.Model(images, {"P3": keras.layers.Conv2D(2, 3, name="conv")(images)})


def test_tf2onnx_improves_a_graph_in_place(monkeypatch, tmp_path):
    from tf2onnx import optimizer

    copies = []
    copied = copy.deepcopy
    monkeypatch.setattr(optimizer.copy, "deepcopy", lambda what: (copies.append(type(what).__name__), copied(what))[1])
    kyb.export_onnx(small_network(), tmp_path / "m.onnx")
    assert "Graph" not in copies


def test_an_improvement_of_tf2onnx_that_fails_is_left_out(monkeypatch, tmp_path):
    from tf2onnx import optimizer

    tried = []

    class Failing:
        graph_been_opt = False

        def optimize(self, *_):
            tried.append(os.environ.get("TF2ONNX_CATCH_ERRORS"))
            raise RuntimeError("not today")

    monkeypatch.setitem(optimizer._optimizers, "failing", Failing)
    monkeypatch.setenv("TF2ONNX_CATCH_ERRORS", "true")
    artifact = kyb.export_onnx(small_network(), tmp_path / "m.onnx")
    assert (tried[0], tried[1]) == ("false", None)
    assert os.environ["TF2ONNX_CATCH_ERRORS"] == "true", "the user's own"
    assert artifact.manifest["agreement"]["P3"]["snr_db"] > 100
