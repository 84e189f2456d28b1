"""`kyb check` asks the real tools: Arm's Vela, TFLite Micro, OpenVINO, and LiteRT for XNNPACK."""

from __future__ import annotations

import json
import sys

import keras
import pytest
from quantized import small
from test_every_family import OPERATORS, SMALLEST

import keras_yolo_backbones as kyb
from keras_yolo_backbones import child
from keras_yolo_backbones.benchmark import noise
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.errors import ArgumentError, ExportError
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.targets import micro, openvino, vela
from keras_yolo_backbones.targets.check import check_tflite


def left_over() -> keras.Model:
    """A convolution and a nearest neighbour that an Ethos-U55 leaves to the CPU, among others that it takes."""
    keras.utils.set_random_seed(0)
    images = keras.Input((64, 64, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6")(images)
    y = keras.layers.UpSampling2D(16)(keras.layers.MaxPooling2D(16)(x))  # written as two, by 8 and 2
    z = keras.layers.UpSampling2D((16, 8))(keras.layers.MaxPooling2D((16, 8))(x))
    y = keras.layers.Add()([x, keras.layers.Add()([y, z])])
    return keras.Model(images, {"P3": y, "P4": keras.layers.Conv2D(8, 3, strides=5, padding="same")(y)})


@pytest.fixture(scope="module")
def files(photographs, tmp_path_factory):
    """v8-n with ReLU6, and what Vela leaves over, int8."""
    folder = tmp_path_factory.mktemp("devices")
    options = {"precision": "int8", "calibration": photographs}
    kyb.export_tflite(small("v8-n", "relu6", photographs), folder / "v8.tflite", **options)
    kyb.export_tflite(left_over(), folder / "left.tflite", **options)
    kyb.export_tflite(left_over(), folder / "float.tflite")
    kyb.export_tflite(left_over(), folder / "half.tflite", precision="float16")
    (folder / "broken.tflite").write_bytes((folder / "v8.tflite").read_bytes()[:3000])
    return folder


def said(capsys, *arguments) -> tuple[int, dict]:
    """Exit status and JSON of `kyb check`."""
    status = main(["check", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("target", ["ethos-u55-128", "ethos-u65", "ethos-u85-512"])
def test_vela_takes_a_whole_backbone(files, target, capsys):
    status, report = said(capsys, files / "v8.tflite", "--target", target)
    assert (status, report["refused"], report["taken"], report["operators"]) == (0, [], 50, 50)
    assert report["source"].startswith("ethos-u-vela 5.")
    facts = report["facts"]
    assert facts["npu_passes"] <= 60
    assert facts["macs"] == pytest.approx(1.58e9 / 100, rel=0.02)  # MACs at 64 pixels: a hundredth of those at 640
    assert facts["ms"] == pytest.approx(facts["cycles"] / facts["clock_mhz"] / 1e3)
    assert 1.2e6 < facts["weights_bytes"] < 1.35e6
    assert 16 * 32 * 32 <= facts["sram_bytes"] < 200_000


def test_a_clock_scales_the_time(files, capsys):
    _, fast = said(capsys, files / "left.tflite", "--target", "ethos-u55-64", "--clock", "400")
    _, slow = said(capsys, files / "left.tflite", "--target", "ethos-u55-64", "--clock", "100")
    assert fast["facts"]["cycles"] == slow["facts"]["cycles"]
    assert slow["facts"]["ms"] == pytest.approx(4 * fast["facts"]["ms"])


def test_vela_says_why_an_operator_stays_on_the_cpu(files, capsys):
    status, report = said(capsys, files / "left.tflite", "--target", "ethos-u55-128")
    reasons = {refusal["operator"]: (refusal["count"], refusal["reason"]) for refusal in report["refused"]}
    assert status == 1
    assert reasons == {
        "CONV_2D": (1, "Unsupported kernel stride: 5, 5"),
        "RESIZE_NEAREST_NEIGHBOR": (
            1,
            "HW scale-factor is not equal and operation has unsupported parameter combination ofm h=32, "
            "h scale-factor=16, ofm w=32, w scale-factor=8.",
        ),
    }
    assert report["taken"] == report["operators"] - 2
    advice = [refusal["advice"] for refusal in report["refused"] if refusal["operator"].startswith("RESIZE")]
    assert advice == ["enlarge by 2, 4 or 8, both sides alike"]


def test_vela_says_one_thing_of_a_float_file(files, capsys):
    status, report = said(capsys, files / "float.tflite", "--target", "ethos-u55-128")
    reasons = {(refusal["reason"], refusal["advice"]) for refusal in report["refused"]}
    assert (status, report["taken"]) == (1, 0)
    assert reasons == {
        (
            "Operation has tensor with unsupported DataType Float32",
            'export with precision="int8", or use quantize_aware',
        )
    }
    counts = {refusal["operator"]: refusal["count"] for refusal in report["refused"]}
    assert counts["CONV_2D"] == 2  # the one with a ReLU6 within, too
    assert sum(counts.values()) == report["operators"]


@pytest.mark.skipif(not micro.installed(), reason="tflite-micro has wheels for Linux on x86-64 only")
def test_tflite_micro_runs_the_file_to_the_same_integers(files, capsys):
    status, report = said(capsys, files / "v8.tflite", "--target", "tflite-micro")
    facts = report["facts"]
    assert (status, report["taken"], facts["steps_from_litert"]) == (0, 50, 0)
    assert facts["arena_total_bytes"] == facts["arena_head_bytes"] + facts["arena_tail_bytes"]
    assert 16 * 32 * 32 * 2 <= facts["arena_head_bytes"] <= 100_000


@pytest.mark.parametrize("target", ["ethos-u55-128", "openvino"])
def test_of_float16_weights_the_advice_is_integers(files, capsys, target):
    status, report = said(capsys, files / "half.tflite", "--target", target)
    assert status == 1
    assert {refusal["advice"] for refusal in report["refused"]} == {
        'export with precision="int8", or use quantize_aware'
    }


def test_openvino_computes_convolutions_in_integers(files, capsys):
    status, report = said(capsys, files / "v8.tflite", "--target", "openvino")
    assert (status, report["refused"]) == (0, [])
    assert report["facts"]["layers_u8"] > 30


def test_what_tflite_micro_fails_at_is_named_with_its_reason():
    log = "micro/kernels/elementwise.cc:202 input->type != expected_type (INT8 != FLOAT32)\n"
    log += "Node LOG (number 2) failed to invoke with status 1"
    refused = micro._failure(log, "Interpreter invocation failed.", 412)
    reason = "TFLite Micro fails to invoke it: input->type != expected_type (INT8 != FLOAT32)"
    assert (refused.operator, refused.count, refused.reason) == ("LOG", 1, reason)
    assert micro._failure("", "Interpreter invocation failed.", 412).operator == "the file"


@pytest.mark.parametrize("target", ["ethos-u55-128", "tflite-micro"])
def test_without_the_tool_it_is_the_documentation(files, target, monkeypatch, capsys):
    monkeypatch.setattr(vela, "command_path", lambda _: None)
    monkeypatch.setattr(micro, "has_module", lambda _: False)
    extra = {"ethos-u55-128": "ethos-u", "tflite-micro": "micro"}[target]
    status, report = said(capsys, files / "left.tflite", "--target", target)
    assert report["source"] == "documentation"
    assert report["missing"].endswith(f"is not installed: {how_to_install(extra)}")
    names = [refusal["operator"] for refusal in report["refused"]]
    assert names == (["RESIZE_NEAREST_NEIGHBOR"] if target == "ethos-u55-128" else [])
    assert status == len(names)


def test_openvino_has_no_list_for_tflite(files, monkeypatch, capfd):
    monkeypatch.setattr(openvino, "has_module", lambda _: False)
    assert main(["check", str(files / "v8.tflite"), "--target", "openvino"]) == 2
    assert "pip install 'openvino>=2025.2'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "arguments", "status", "reason"),
    [
        ("v8", ["ethos-u55-63"], 2, "ethos-u55-64"),
        ("v8", ["ethos-u55", "--clock", "0"], 2, "clock in MHz"),
        ("v8", ["gpu", "--clock", "100"], 2, "is for the Ethos-U targets"),
        ("broken", ["ethos-u55"], 1, "no TFLite model"),
        ("broken", ["tflite-micro"], 1, "no TFLite model"),
        ("broken", ["openvino"], 1, "no TFLite model"),
        ("missing", ["ethos-u85"], 1, "is no file"),
    ],
)
def test_mistakes_are_one_line(files, name, arguments, status, reason, capfd):
    assert main(["check", str(files / f"{name}.tflite"), "--target", *arguments]) == status
    error = capfd.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_tool_has_limits(monkeypatch):
    monkeypatch.setenv("KYB_TOOL_SECONDS", "1")
    with pytest.raises(ExportError, match="a sleeper found no end in 1 s"):
        child.run([sys.executable, "-c", "import time; time.sleep(60)"], what="a sleeper")
    monkeypatch.setenv("KYB_TOOL_SECONDS", "60")
    done = child.run([sys.executable, "-c", "bytearray(1 << 40)"], what="an eater")
    assert done.code == 1
    assert child.last_words(done) == "MemoryError"
    monkeypatch.setenv("KYB_TOOL_SECONDS", "soon")
    with pytest.raises(ArgumentError, match=r"KYB_TOOL_SECONDS=soon: expected seconds"):
        child.run([sys.executable, "-c", ""], what="nothing")


def test_a_tool_that_crashes_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(vela, "command_path", lambda _: sys.executable)  # reads the file as Python, and fails
    (tmp_path / "x.tflite").write_text("raise SystemExit('out of order')")
    with pytest.raises(ExportError, match=r"Vela does not compile .*: out of order"):
        vela.compiled(tmp_path / "x.tflite", "ethos-u55-128")


CONVOLUTIONAL = [name for name in SMALLEST if "BATCH_MATMUL" not in OPERATORS[name]]


@pytest.mark.slow
@pytest.mark.parametrize("activation", [None, "relu6"])
@pytest.mark.parametrize("name", SMALLEST)
def test_every_family_runs_whole_on_ethos_u(name, activation, photographs, tmp_path):
    file = tmp_path / "model.tflite"
    options = {"precision": "int8", "calibration": photographs, "least_snr_db": -20}
    kyb.export_tflite(small(name, activation, photographs), file, **options)
    for target in ("ethos-u55-256", "ethos-u85-512"):
        assert check_tflite(file, target).refused == []
    if name in CONVOLUTIONAL:
        assert check_tflite(file, "tflite-micro").refused == []


@pytest.mark.slow
@pytest.mark.skipif(not micro.installed(), reason="tflite-micro has wheels for Linux on x86-64 only")
@pytest.mark.parametrize(("name", "activation"), [("v10-n", "relu6"), ("v11-n", None), ("v13-n", None)])
def test_tflite_micro_takes_the_softmax_of_a_network_that_was_never_trained(name, activation, tmp_path):
    """Its scores are all but 0, and TFLite Micro aborts on a softmax whose input has a step below 2^-26."""
    keras.utils.set_random_seed(0)
    model = kyb.create(name, activation=activation, input_shape=(64, 64, 3))
    options = {"precision": "int8", "calibration": noise(model), "least_snr_db": -50}
    kyb.export_tflite(model, tmp_path / "model.tflite", **options)
    assert check_tflite(tmp_path / "model.tflite", "tflite-micro").refused == []
