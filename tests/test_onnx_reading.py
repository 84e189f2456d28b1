"""ONNX files as checkpoints: initializers with the original's names, and what the graph says of activations."""

from __future__ import annotations

import struct

import numpy as np
import onnx
import pytest
from hostile import observed
from onnx import TensorProto, helper, numpy_helper

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import CheckpointError

KERNEL = np.arange(4 * 3 * 9, dtype=np.float32).reshape(4, 3, 3, 3)
BIAS = np.arange(4, dtype=np.float32)


def after(kind: str) -> list[onnx.NodeProto]:
    """The nodes from "c", a convolution's output, to "y"."""
    node = helper.make_node
    return {
        "silu": [node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["y"])],
        "relu": [node("Relu", ["c"], ["y"])],
        "relu6": [node("Clip", ["c", "zero", "six"], ["y"])],
        "Clip(0.0, 1.0)": [node("Clip", ["c", "zero", "one"], ["y"])],
        "leaky_relu": [node("LeakyRelu", ["c"], ["y"], alpha=0.1)],
        "LeakyRelu(0.2)": [node("LeakyRelu", ["c"], ["y"], alpha=0.2)],
        "hard_swish": [node("HardSigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["y"])],
        "mish": [node("Softplus", ["c"], ["p"]), node("Tanh", ["p"], ["s"]), node("Mul", ["c", "s"], ["y"])],
        "linear": [node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2])],
    }[kind]


def model(kind: str = "silu", names=("model.0.conv.weight", "model.0.conv.bias"), kernel=KERNEL, metadata=()):
    """One convolution and an activation, serialized."""
    constants = {"zero": 0, "six": 6, "one": 1}
    scalars = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    initializers = [numpy_helper.from_array(kernel, names[0]), numpy_helper.from_array(BIAS, names[1])]
    convolution = helper.make_node("Conv", ["images", *names], ["c"], name="/model.0/conv/Conv")
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([convolution, *after(kind)], "g", [images], [output], [*initializers, *scalars])
    made = helper.make_model(graph, producer_name="pytorch")
    helper.set_model_props(made, dict(metadata))
    return made


def read(path, content: bytes):
    path.write_bytes(content)
    with kyb.read_checkpoint(path) as checkpoint:
        return checkpoint, {name: checkpoint.tensors[name] for name in checkpoint.tensors}


@pytest.mark.parametrize("name", ["/Conv", "//", "/", ""])
def test_a_convolution_of_no_module_names_nothing(tmp_path, name):
    made = model()
    made.graph.node[0].name = name
    _, found = read(tmp_path / "best.onnx", made.SerializeToString())
    assert [key for key in found if "conv" in key] == ["model.0.conv.weight", "model.0.conv.bias"]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_initializers_are_the_state_dict(tmp_path, dtype):
    checkpoint, found = read(tmp_path / "best.onnx", model(kernel=KERNEL.astype(dtype)).SerializeToString())
    assert checkpoint.format == "onnx"
    np.testing.assert_array_equal(found["model.0.conv.weight"], KERNEL)
    assert found["model.0.conv.weight"].dtype == dtype
    np.testing.assert_array_equal(found["model.0.conv.bias"], BIAS)
    assert (checkpoint.facts.fused, checkpoint.facts.channels) == (True, 3)


def test_floats_that_are_listed_are_read_as_well(tmp_path):
    made = model()
    made.graph.initializer[0].CopyFrom(helper.make_tensor("model.0.conv.weight", 1, KERNEL.shape, KERNEL.ravel()))
    assert made.graph.initializer[0].float_data
    np.testing.assert_array_equal(read(tmp_path / "a.onnx", made.SerializeToString())[1]["model.0.conv.weight"], KERNEL)


@pytest.mark.parametrize(
    "kind",
    ["silu", "relu", "relu6", "Clip(0.0, 1.0)", "leaky_relu", "LeakyRelu(0.2)", "hard_swish", "mish", "linear"],
)
def test_the_graph_says_the_activation(tmp_path, kind):
    checkpoint, _ = read(tmp_path / "best.onnx", model(kind).SerializeToString())
    assert checkpoint.facts.activations == {"model.0": kind}


def test_names_that_the_exporter_dropped_come_back_from_the_nodes(tmp_path):
    made = model(names=("onnx::Conv_12", "onnx::Conv_13"))
    assert list(read(tmp_path / "best.onnx", made.SerializeToString())[1])[:2] == [
        "model.0.conv.weight",
        "model.0.conv.bias",
    ]
    made.graph.node[0].name = "/model.2/cv2/cv2.1/conv/Conv"
    assert "model.2.cv2.1.conv.weight" in read(tmp_path / "best.onnx", made.SerializeToString())[1]
    made.graph.node[0].name = "Conv_0"
    with pytest.raises(CheckpointError, match="without the original's names, but names such as 'onnx::Conv_12'"):
        read(tmp_path / "best.onnx", made.SerializeToString())


def test_an_initializer_that_is_kept_once_has_all_its_names(tmp_path):
    made = model()
    made.graph.node.insert(0, helper.make_node("Identity", ["model.0.conv.bias"], ["model.1.conv.bias"]))
    found = read(tmp_path / "best.onnx", made.SerializeToString())[1]
    np.testing.assert_array_equal(found["model.1.conv.bias"], BIAS)


def test_metadata_are_facts(tmp_path):
    said = {"names": "{0: 'car', 1: \"driver's\"}", "task": "detect", "version": "8.3.0", "imgsz": "[320, 640]"}
    said |= {"license": "AGPL-3.0", "date": "2026"}
    facts = read(tmp_path / "best.onnx", model(metadata=said).SerializeToString())[0].facts
    assert (facts.classes, facts.task, facts.version) == (("car", "driver's"), "detect", "8.3.0")
    assert (facts.image_size, facts.licence, facts.date) == ((320, 640), "AGPL-3.0", "2026")


def external() -> bytes:
    made = model()
    made.graph.initializer[0].ClearField("raw_data")
    made.graph.initializer[0].data_location = TensorProto.EXTERNAL
    return made.SerializeToString()


def short() -> bytes:
    made = model()
    made.graph.initializer[0].raw_data = bytes(8)
    return made.SerializeToString()


def doubled() -> bytes:
    made = model()
    made.graph.initializer[0].float_data.extend([1.0])
    return made.SerializeToString()


def many_nodes() -> bytes:
    return b"\x08\x08\x12\x00\x3a" + b"\x80\x80\x80\x02" + b"\x0a\x00" * (2 << 20)


def many_fields() -> bytes:
    return b"\x08\x08\x12\x00" + b"\x42\x00" * 400_000


def no_text(name: bytes) -> bytes:
    return model(metadata={"task": "detect"}).SerializeToString().replace(name, b"\xff" * len(name))


def huge_shape() -> bytes:
    made = model()
    made.graph.initializer[0].dims[0] = 1 << 62
    return made.SerializeToString()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (external(), "keeps its weights in a second file"),
        (short(), "with 8 bytes, which its shape does not take"),
        (doubled(), "two values"),
        (model().SerializeToString()[:-40], "it is damaged"),
        *(
            (no_text(name), "a name that is no UTF-8")
            for name in (b"model.0.conv.bias", b"Sigmoid", b"detect", b"task")
        ),
        (huge_shape(), "which its shape does not take"),
        (many_nodes(), "bytes beside the values"),
        (many_fields(), "bytes beside the values"),
        (b"\x08\x08\x12\xff\xff\xff\xff\x0f", "reaches past its end"),
        (b"\x08\x08\x12\x00" + b"\xff" * 20, "is no protocol buffer"),
        (b"\x08\x08\x12\x00" + struct.pack("<B", 0x0B), "is no protocol buffer"),
    ],
    ids=[
        "external",
        "short",
        "doubled",
        "cut",
        "name",
        "operator",
        "value",
        "key",
        "huge",
        "nodes",
        "fields",
        "length",
        "varint",
        "group",
    ],
)
def test_a_hostile_onnx_file_is_refused(tmp_path, content, reason):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    seen = observed(path)
    assert seen.said.startswith("refused "), seen
    assert reason in seen.said, seen
    assert seen.megabytes < 300
    assert seen.seconds < 10
