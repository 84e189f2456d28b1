"""Operators against what accelerators take."""

from __future__ import annotations

import json
import re
from collections import Counter

import keras
import numpy as np
import pytest
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.litert import LiteModel, Operator, Tensor, operators
from keras_yolo_backbones.targets.accelerators import ACCELERATORS
from keras_yolo_backbones.targets.refusals import objection, refusals
from keras_yolo_backbones.targets.xnnpack import delegated

RELU6 = 'build the network with activation="relu6"'
ATTENTION = "attention needs it: spp=False leaves it out of v10, v11 and v26; v12 has it throughout, take v8 instead"
ON_DEVICE = "gpu does not list it, though its source code takes it: try it on the device"


@pytest.fixture(scope="module")
def files(photographs, tmp_path_factory):
    """v3-tiny in four activations, v11-n for its attention, a model of what is rare; all int8 but one."""
    folder = tmp_path_factory.mktemp("check")
    for activation in ("relu6", "silu", "mish", "leaky_relu"):
        model = small("v3-tiny", activation, photographs)
        kyb.export_tflite(
            model, folder / f"{activation}.tflite", precision="int8", calibration=photographs, method="minmax"
        )
    kyb.export_tflite(model, folder / "float.tflite")
    kyb.export_tflite(model, folder / "float16.tflite", precision="float16")
    options = {"precision": "int8", "calibration": photographs, "method": "minmax"}
    kyb.export_tflite(small("v11-n", "relu6", photographs), folder / "attention.tflite", **options)
    kyb.export_tflite(rare(), folder / "rare.tflite", input_type="uint8", **options)
    return folder


def rare() -> keras.Model:
    """A concat of six, average pooling, and nearest neighbours."""
    keras.utils.set_random_seed(0)
    images = keras.Input((64, 64, 3), name="images")
    x = keras.layers.Concatenate()([keras.layers.Conv2D(4, 1, activation="relu6")(images) for _ in range(6)])
    x = keras.layers.UpSampling2D(2)(keras.layers.AveragePooling2D(2)(x))
    return keras.Model(images, {"P3": x})


def told(file, target) -> dict[str, tuple[int, str, str]]:
    """Operator -> (count, reason, advice)."""
    found = refusals(file, target)
    assert len({refusal.operator for refusal in found}) == len(found)
    return {refusal.operator: (refusal.count, refusal.reason, refusal.advice) for refusal in found}


@pytest.mark.parametrize("target", list(ACCELERATORS))
@pytest.mark.parametrize("activation", ["relu6", "silu"])
def test_relu6_and_silu_fit_everywhere(files, target, activation, capsys):
    assert main(["check", str(files / f"{activation}.tflite"), "--target", target]) == 0
    assert re.search(rf"{target}: \d+ of \d+ operators", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("gpu", ON_DEVICE),
        ("edgetpu", "edgetpu does not list it"),
        ("nnapi", "nnapi does not list it, though its source code takes it: try it on the device"),
    ],
)
def test_leaky_relu(files, target, reason, capsys):
    assert main(["check", str(files / "leaky_relu.tflite"), "--target", target, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["refused"] == [{"operator": "LEAKY_RELU", "count": 6, "reason": reason, "advice": RELU6}]
    assert (said["target"], said["source"], said["operators"], said["taken"]) == (target, "documentation", 18, 12)
    assert told(files / "leaky_relu.tflite", "xnnpack") == {}


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ("xnnpack", {"LOG": (6, "xnnpack takes it in float only", RELU6)}),
        ("gpu", {"LOG": (6, ON_DEVICE, RELU6), "TANH": (6, ON_DEVICE, RELU6)}),
        ("edgetpu", {"LOG": (6, "edgetpu does not list it", RELU6)}),
        ("nnapi", {"LOG": (6, "nnapi takes it in float only", RELU6)}),
        ("tflite-micro", {"LOG": (6, "tflite-micro takes it in float only", RELU6)}),
    ],
)
def test_mish(files, target, refused):
    assert told(files / "mish.tflite", target) == refused


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        ("xnnpack", {"SOFTMAX": (1, "xnnpack takes it in float only", ATTENTION)}),
        ("gpu", {"TRANSPOSE": (4, ON_DEVICE, ATTENTION), "BATCH_MATMUL": (2, ON_DEVICE, ATTENTION)}),
        (
            "edgetpu",
            {
                "BATCH_MATMUL": (2, "edgetpu does not list it", ATTENTION),
                "SOFTMAX": (1, "edgetpu takes it only with one dimension, of 16,000 elements at most", ATTENTION),
            },
        ),
        (
            "nnapi",
            {
                "BATCH_MATMUL": (
                    2,
                    "nnapi takes it only from feature level 6 on, newer than Android 12",
                    ATTENTION,
                )
            },
        ),
    ],
)
def test_attention(files, target, refused):
    assert told(files / "attention.tflite", target) == refused


def test_the_edge_tpu_takes_integers_only(files):
    advice = 'export with precision="int8", or use quantize_aware'
    assert told(files / "float.tflite", "edgetpu") == {
        "CONV_2D": (6, "edgetpu takes integers only", advice),
        "LEAKY_RELU": (6, "edgetpu does not list it", RELU6),
        "MAX_POOL_2D": (6, "edgetpu takes integers only", advice),
    }


@pytest.mark.parametrize("target", ["xnnpack", "gpu", "nnapi"])
def test_weights_in_float16_are_no_operators(files, target):
    assert told(files / "float16.tflite", target) == told(files / "float.tflite", target)


def test_tflite_micro_unpacks_no_float16(files):
    advice = 'export with precision="int8", or use quantize_aware'
    refused = told(files / "float16.tflite", "tflite-micro")
    assert refused["DEQUANTIZE"] == (12, "tflite-micro unpacks no float16 weights", advice)


@pytest.mark.parametrize("target", ["coreml", "hailo", "imx500"])
def test_what_quantizes_itself_takes_no_integers(files, target):
    refused = told(files / "attention.tflite", target)
    assert {reason for _, reason, _ in refused.values()} == {f"{target} takes float files only"}
    assert {advice for *_, advice in refused.values()} == {'export with precision="float32"; its own tools quantize'}
    assert sum(count for count, *_ in refused.values()) == len(operators(files / "attention.tflite"))


def test_float_files_for_what_quantizes_itself(files):
    assert told(files / "float.tflite", "coreml") == {"LEAKY_RELU": (6, "coreml does not list it", RELU6)}
    assert told(files / "float.tflite", "hailo") == {"LEAKY_RELU": (6, "hailo does not list it", RELU6)}
    assert told(files / "float.tflite", "imx500") == {}


def test_operators_with_one_reason_are_one_line(files, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["check", str(files / "float.tflite"), "--target", "edgetpu"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[:4] for line in lines if " 12 " in line] == [["CONV_2D,", "MAX_POOL_2D", "12", "edgetpu"]]
    assert [line.split()[:3] for line in lines if " 6 " in line] == [["LEAKY_RELU", "6", "edgetpu"]]


def test_rare_operators(files):
    nearest = 'upsample with interpolation="bilinear"; v9-e has it within, take v9-c instead'
    integers = 'export with input_type="int8" and without keep_float'
    assert told(files / "rare.tflite", "xnnpack") == {
        "QUANTIZE": (1, "xnnpack takes it only from int8 to int8 or from float", integers),
        "CONCATENATION": (
            1,
            "xnnpack takes it only with five inputs at most",
            'export with target="xnnpack", which joins more than five in steps',
        ),
        "AVERAGE_POOL_2D": (
            1,
            "xnnpack takes it only in float",
            'export with target="xnnpack", which writes an average as a convolution',
        ),
        "RESIZE_NEAREST_NEIGHBOR": (1, "xnnpack does not list it", nearest),
    }
    assert told(files / "rare.tflite", "gpu") == {
        "QUANTIZE": (1, ON_DEVICE, integers),
        "RESIZE_NEAREST_NEIGHBOR": (1, ON_DEVICE, nearest),
    }
    assert told(files / "rare.tflite", "edgetpu") == told(files / "rare.tflite", "nnapi") == {}


def tensor(
    *shape: int, kind: str = "INT8", scale: float = 0.5, zero_point: int = 0, values: tuple[int, ...] = ()
) -> Tensor:
    return Tensor(kind, shape, scale, zero_point, bool(values), values)


def node(name: str, *inputs: Tensor, out: Tensor | None = None, activated: bool = False) -> Operator:
    return Operator(name, inputs, (out or tensor(1, 8, 8, 4),), activated)


IMAGE = tensor(1, 8, 8, 4)
WIDE = tensor(1, 8, 8, 4, kind="INT16")
FLOATS = tensor(1, 8, 8, 4, kind="FLOAT32")
ALONG = "it only along the channels"


@pytest.mark.parametrize(
    ("target", "operator", "reason"),
    [
        ("edgetpu", node("ADD", IMAGE, IMAGE), ""),
        (
            "edgetpu",
            node("ADD", tensor(2, 8, 8, 4), IMAGE),
            "it only with a size of 1 in all dimensions but the last three",
        ),
        ("edgetpu", node("MAX_POOL_2D", IMAGE, activated=True), "it only without an activation function"),
        ("edgetpu", node("PAD", IMAGE, tensor(4, 2, values=(0, 0, 1, 1, 1, 1, 0, 0))), ""),
        (
            "edgetpu",
            node("PAD", IMAGE, tensor(4, 2, values=(1, 0, 1, 1, 1, 1, 0, 0))),
            "it only without padding along the batch",
        ),
        ("edgetpu", node("SOFTMAX", tensor(1, 16_000)), ""),
        ("edgetpu", node("SOFTMAX", tensor(1, 16_001)), "it only with one dimension, of 16,000 elements at most"),
        ("edgetpu", node("QUANTIZE", tensor(1, 8, 8, 4, kind="UINT8")), ""),
        ("xnnpack", node("BATCH_MATMUL", tensor(1, 8, 8, 4, zero_point=-128), IMAGE), ""),
        (
            "xnnpack",
            node("BATCH_MATMUL", IMAGE, tensor(1, 8, 8, 4, zero_point=3)),
            "it only in float, or if the zero point of its second factor is 0",
        ),
        ("xnnpack", node("STRIDED_SLICE", IMAGE, IMAGE, IMAGE, tensor(4, values=(1, 1, 1, 1))), ""),
        (
            "xnnpack",
            node("STRIDED_SLICE", IMAGE, IMAGE, IMAGE, tensor(4, values=(1, 2, 2, 1))),
            "it only with strides of 1",
        ),
        ("xnnpack", node("LEAKY_RELU", IMAGE, out=tensor(1, 8, 8, 4, scale=0.5 / 128)), ""),
        (
            "xnnpack",
            node("LEAKY_RELU", IMAGE, out=tensor(1, 8, 8, 4, scale=0.5 / 129)),
            "it only if the scales of its tensors are of like size",
        ),
        ("xnnpack", node("RELU", IMAGE), "it in float only"),
        ("nnapi", node("LOG", tensor(1, 8, 8, 4, kind="FLOAT32"), out=tensor(1, 8, 8, 4, kind="FLOAT32")), ""),
        ("nnapi", node("TRANSPOSE", tensor(1, 2, 2, 2, 2)), "it only with four dimensions at most"),
        ("coreml", node("CONCATENATION", FLOATS, FLOATS, out=FLOATS), ""),
        ("coreml", node("CONCATENATION", FLOATS, FLOATS, out=tensor(1, 16, 8, 4, kind="FLOAT32")), ALONG),
        ("coreml", node("PAD", FLOATS, tensor(4, 2, kind="INT32", values=(0, 0, 1, 1, 1, 1, 0, 0)), out=FLOATS), ""),
        (
            "coreml",
            node("PAD", FLOATS, tensor(4, 2, kind="INT32", values=(0, 0, 1, 1, 1, 1, 0, 4)), out=FLOATS),
            "it only along height and width",
        ),
        ("coreml", node("ADD", IMAGE, IMAGE), "float files only"),
        ("coreml", node("DEQUANTIZE", IMAGE, out=FLOATS), "float files only"),
        ("edgetpu", node("ADD", WIDE, WIDE, out=WIDE), "integers of 8 bits only"),
        ("xnnpack", node("QUANTIZE", IMAGE, out=WIDE), "integers of 8 bits only"),
        ("tflite-micro", node("ADD", WIDE, WIDE, out=WIDE), ""),
        ("tflite-micro", node("LOG", IMAGE), "it in float only"),
        ("hailo", node("BATCH_MATMUL", FLOATS, FLOATS, out=FLOATS), ""),
        ("imx500", node("LEAKY_RELU", FLOATS, out=FLOATS), ""),
        ("imx500", node("QUANTIZE", IMAGE), "float files only"),
    ],
)
def test_conditions(target, operator, reason):
    found, _ = objection(operator, target)
    assert found == (f"{target} takes {reason}" if reason else "")


@pytest.mark.parametrize(
    ("name", "left", "parts"),
    [
        ("leaky_relu", {}, 1),
        ("mish", {"LOG": 6}, 7),
        ("attention", {"SOFTMAX": 1}, 2),
        ("rare", {"QUANTIZE": 1, "CONCATENATION": 1, "AVERAGE_POOL_2D": 1, "RESIZE_NEAREST_NEIGHBOR": 1}, 1),
        ("float16", {}, 1),
    ],
)
def test_xnnpack_does_what_is_said(files, name, left, parts):
    """LiteRT leaves exactly the operators that the list refuses."""
    seen = delegated(files / f"{name}.tflite")
    assert Counter(seen.left) == left
    assert seen.parts == parts
    assert {operator: count for operator, (count, *_) in told(files / f"{name}.tflite", "xnnpack").items()} == left


def test_mistakes(files, tmp_path):
    assert main(["check", str(files / "relu6.tflite"), "--target", "npu"]) == 2
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    assert main(["check", str(tmp_path / "x.tflite"), "--target", "gpu"]) == 1


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_concat_of_many_in_a_form_for_xnnpack(photographs, tmp_path, precision):
    keras.utils.set_random_seed(0)
    images = keras.Input((64, 64, 3), name="images")
    parts = [
        keras.layers.Conv2D(4, 1, strides=8, activation="relu6", name=f"conv{place}")(images) for place in range(11)
    ]
    model = keras.Model(images, {"P3": keras.layers.Concatenate(name="cat")(parts)}, name="eleven")
    options = {"precision": precision, "calibration": photographs if precision == "int8" else None}
    plain = kyb.export_tflite(model, tmp_path / "plain.tflite", **options)
    steps = kyb.export_tflite(model, tmp_path / "steps.tflite", target="xnnpack", **options)
    assert (plain.manifest["operators"]["CONCATENATION"], steps.manifest["operators"]["CONCATENATION"]) == (1, 3)
    assert delegated(plain.path).left == ["CONCATENATION"]
    assert delegated(steps.path)[1:] == ([], 1)
    assert steps.manifest["target"] == "xnnpack"
    values = [LiteModel(file.path)(np.float32(photographs[:2]) / 255)["P3"] for file in (plain, steps)]
    np.testing.assert_array_equal(*values)
    with pytest.raises(kyb.ArgumentError, match=r"unknown target: 'npu'.* Allowed: xnnpack"):
        kyb.export_tflite(model, tmp_path / "x.tflite", target="npu")
