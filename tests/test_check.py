"""Operators against what accelerators list."""

from __future__ import annotations

import json

import keras
import pytest
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main


@pytest.fixture(scope="module")
def files(photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    for name, activation in (("v3-tiny", "relu6"), ("v3-tiny", "leaky_relu")):
        model = small(name, activation, photographs)
        kyb.export_tflite(model, folder / f"{activation}.tflite", precision="int8", calibration=photographs)
    kyb.export_tflite(model, folder / "float.tflite")
    return folder


@pytest.mark.parametrize("target", ["xnnpack", "gpu", "edgetpu", "nnapi"])
def test_relu6_networks_fit_everywhere(files, target, capsys):
    assert main(["check", str(files / "relu6.tflite"), "--target", target]) == 0
    assert f"{target} lists every operator of" in capsys.readouterr().out


def test_what_does_not_fit_is_named_with_its_cure(files, capsys):
    assert main(["check", str(files / "leaky_relu.tflite"), "--target", "gpu", "--json"]) == 1
    (refusal,) = json.loads(capsys.readouterr().out)
    assert refusal["operator"] == "LEAKY_RELU"
    assert refusal["count"] > 5
    assert refusal["advice"] == 'build the network with activation="relu6"'
    assert main(["check", str(files / "leaky_relu.tflite"), "--target", "xnnpack"]) == 0


def test_the_edge_tpu_takes_integers_only(files, capsys):
    assert main(["check", str(files / "float.tflite"), "--target", "edgetpu", "--json"]) == 1
    refused = {entry["operator"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert refused["CONV_2D"]["reason"] == "edgetpu takes integers only"
    assert "LEAKY_RELU" in refused


def test_average_pooling_in_int8_is_not_for_xnnpack(photographs, tmp_path, capsys):
    images = keras.Input((64, 64, 3), name="images")
    x = keras.layers.Conv2D(4, 3, activation="relu6")(images)
    model = keras.Model(images, {"P3": keras.layers.AveragePooling2D(2)(x)})
    kyb.export_tflite(model, tmp_path / "float.tflite")
    kyb.export_tflite(model, tmp_path / "int8.tflite", precision="int8", calibration=photographs)
    assert main(["check", str(tmp_path / "float.tflite"), "--target", "xnnpack"]) == 0
    capsys.readouterr()
    assert main(["check", str(tmp_path / "int8.tflite"), "--target", "xnnpack", "--json"]) == 1
    (refusal,) = json.loads(capsys.readouterr().out)
    assert (refusal["operator"], refusal["reason"]) == ("AVERAGE_POOL_2D", "xnnpack takes it in float only")


def test_mistakes(files, tmp_path):
    assert main(["check", str(files / "relu6.tflite"), "--target", "npu"]) == 2
    (tmp_path / "x.tflite").write_bytes(b"nothing")
    assert main(["check", str(tmp_path / "x.tflite"), "--target", "gpu"]) == 1
