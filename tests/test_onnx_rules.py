"""`kyb check` on ONNX files: the published rules of runtimes."""

from __future__ import annotations

import json

import pytest
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.targets.onnx_rules import RULES, onnx_refusals


@pytest.fixture(scope="module")
def files(photographs, tmp_path_factory):
    """A file in each form."""
    folder = tmp_path_factory.mktemp("rules")
    model = small("v8-n", "relu6", photographs)
    plan = kyb.quantization.plan(model, photographs, symmetric=True, method="minmax")
    plan.save(folder / "plan.json")
    kyb.save_weights(model, folder / "w.weights.h5")
    command = (
        f"export v8-n --activation relu6 --image-size 64 --weights {folder}/w.weights.h5 --format onnx --out {folder}"
    )
    command += f" --precision int8 --scheme symmetric --calibration {folder}/plan.json"
    assert main(command.split()) == 0
    options = {"precision": "int8", "calibration": plan}
    return {
        "float": kyb.export_onnx(model, folder / "float.onnx").path,
        "asymmetric": kyb.export_onnx(model, folder / "asymmetric.onnx", **options).path,
        "symmetric": folder / "v8-n-relu6-int8.onnx",
        "kept": kyb.export_onnx(model, folder / "kept.onnx", keep_float=["spp.cv1"], **options).path,
    }


def reasons(path, target):
    return {(found.operator, found.reason): found.count for found in onnx_refusals(path, target)}


def test_each_scheme_passes_where_it_belongs(files):
    assert reasons(files["symmetric"], "tensorrt") == {}
    assert reasons(files["asymmetric"], "onnxruntime") == {}
    assert reasons(files["asymmetric"], "openvino") == {}
    assert reasons(files["asymmetric"], "qnn") == {("input", "takes fixed shapes only"): 1}


def test_each_scheme_is_refused_where_it_does_not(files):
    found = reasons(files["asymmetric"], "tensorrt")
    assert found["DequantizeLinear", "does not dequantize int32 (biases)"] == 31
    assert found["QuantizeLinear", "takes signed 8-bit integers only"] > 40
    found = reasons(files["symmetric"], "onnxruntime")
    assert found["QuantizeLinear", "computes in float on x86 where activations are int8"] > 40


def test_float_layers_are_named_for_every_runtime(files):
    for target in ("onnxruntime", "openvino", "qnn"):
        found = reasons(files["kept"], target)
        assert found["Conv", "computes it in float: input or kernel is not quantized"] == 1
    for target in RULES:
        assert reasons(files["float"], target)["Conv", "nothing in the file is quantized"] == 31


def test_every_rule_names_its_source():
    for target, rules in RULES.items():
        assert len(rules) >= 3
        for source in rules.values():
            assert ".com/" in source or ".ai/" in source or source.startswith("seen in"), (target, source)


def test_the_command(files, capfd, tmp_path):
    assert main(["check", str(files["symmetric"]), "--target", "tensorrt"]) == 0
    assert main(["check", str(files["asymmetric"]), "--target", "tensorrt", "--json"]) == 1
    printed = capfd.readouterr().out
    assert printed.startswith("tensorrt: ")
    listed = json.loads(printed[printed.index("{") :])
    assert 'scheme="symmetric"' in listed["refused"][0]["advice"]
    assert listed["taken"] < listed["operators"]
    assert main(["check", str(files["asymmetric"]), "--target", "edgetpu"]) == 2
    assert "unknown target for an ONNX file: 'edgetpu'" in capfd.readouterr().err
    (tmp_path / "no.onnx").write_bytes(b"no")
    assert main(["check", str(tmp_path / "no.onnx"), "--target", "qnn"]) == 1
    assert "no.onnx is no ONNX file" in capfd.readouterr().err
