"""Post-training int8: always by a plan, by the converter's calibration only where no plan can be made."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export import tflite
from keras_yolo_backbones.export.comparison import check_images, least_of_simulation
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.litert import LiteModel, operators


def network(*more: keras.layers.Layer) -> keras.Model:
    """Two convolutions, 16 pixels, and `more` at the end."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="first")(images)
    x = keras.layers.ReLU(name="first.act")(x)
    for layer in (keras.layers.Conv2D(8, 3, padding="same", name="second"), *more):
        x = layer(x)
    return keras.Model(images, {"P3": x})


@pytest.fixture(scope="module")
def images(photographs):
    return photographs[:, :16, :16]


def ratio(told):
    """A manifest has no infinity: of equal outputs it tells no ratio."""
    return np.inf if told["P3"]["snr_db"] is None else told["P3"]["snr_db"]


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_files_are_compared_on_values_that_pixels_have(span):
    images = check_images((20, 12, 3), span, count=2)
    pixels = (images - span[0]) / (span[1] - span[0]) * 255
    np.testing.assert_allclose(pixels, np.rint(pixels), atol=2e-5)
    assert (images.shape, images.dtype, len(np.unique(np.rint(pixels))) > 200) == ((2, 20, 12, 3), np.float32, True)
    assert span[0] <= images.min() < images.max() <= span[1]


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        (keras.layers.Conv2DTranspose(4, 2, strides=2), "plan"),
        (keras.layers.Dense(4, activation="relu"), "plan"),
        (keras.layers.Resizing(16, 16, interpolation="nearest"), "plan"),
        (keras.layers.Resizing(16, 16, interpolation="bilinear"), "plan"),
        (keras.layers.PReLU(), "converter"),
        (keras.layers.SeparableConv2D(4, 3), "converter"),
    ],
)
def test_what_a_plan_does_not_know_is_exported_all_the_same(layer, source, images, tmp_path, recwarn):
    artifact = kyb.export_tflite(
        network(layer), tmp_path / "m.tflite", precision="int8", calibration=images, method="minmax"
    )
    assert {kind for operator in operators(artifact.path) for kind in operator.kinds} <= {"INT8", "INT32"}
    ranges = artifact.manifest["ranges"]
    told = [str(warning.message) for warning in recwarn if "ranges of the TFLite converter" in str(warning.message)]
    if source == "plan":
        assert ranges == {"from": "plan", "method": "minmax", "images": 16}
        assert ratio(artifact.manifest["fake_quantized_agreement"]) > 30
        assert not told
        return
    assert ranges["from"] == "converter"
    assert f"quantization does not know {type(layer).__name__}" in ranges["because"]
    assert "fake_quantized_agreement" not in artifact.manifest
    assert artifact.manifest["agreement"]["reference"] == "model"
    assert len(told) == 1


def test_what_has_no_integer_form_is_refused(images, tmp_path):
    model = network(keras.layers.LayerNormalization())
    with pytest.raises(kyb.ExportError, match="operators that stay float in int8: NEG"):
        kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=images, method="minmax")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_or_its_file_is_calibration_too(images, tmp_path):
    model = network()
    plan = kyb.quantization.plan(model, images, method="mse")
    plan.save(tmp_path / "plan.json")
    given = {"images": images, "plan": plan, "file": tmp_path / "plan.json"}
    files = {
        name: kyb.export_tflite(
            model,
            tmp_path / f"{name}.tflite",
            precision="int8",
            calibration=calibration,
            method="mse" if name == "images" else None,
        )
        for name, calibration in given.items()
    }
    aware = kyb.export_tflite(kyb.quantize_aware(model, plan), tmp_path / "aware.tflite")
    assert len({artifact.path.read_bytes() for artifact in (*files.values(), aware)}) == 1
    assert [artifact.manifest["ranges"]["from"] for artifact in (files["file"], aware)] == ["plan", "model"]
    assert files["plan"].manifest["ranges"] == {"from": "plan", "method": "mse", "images": 16}
    minmax = kyb.export_tflite(model, tmp_path / "minmax.tflite", precision="int8", calibration=images, method="minmax")
    assert minmax.path.read_bytes() != aware.path.read_bytes()


def test_the_manifest_names_what_the_file_was_compared_with(images, tmp_path):
    model = network()
    post = kyb.export_tflite(model, tmp_path / "post.tflite", precision="int8", calibration=images, method="minmax")
    assert post.manifest == json.loads((tmp_path / "post.tflite.json").read_text())
    own, simulated = post.manifest["agreement"], post.manifest["fake_quantized_agreement"]
    assert (own["reference"], own["least_snr_db"]) == ("model", 3.0)
    assert (simulated["reference"], simulated["least_snr_db"]) == ("fake-quantized model", 20.0)
    assert ratio(simulated) > ratio(own) + 3
    aware = kyb.export_tflite(kyb.quantize_aware(model, images, method="minmax"), tmp_path / "aware.tflite").manifest
    assert (aware["agreement"]["reference"], aware["agreement"]["least_snr_db"]) == ("fake-quantized model", 20.0)
    assert "fake_quantized_agreement" not in aware
    beside = aware["float_agreement"]
    assert (beside["reference"], beside["least_snr_db"]) == ("fake-quantized model without its rounding", None)
    assert 25 < ratio(beside) < ratio(aware["agreement"]) - 3


def test_a_file_that_does_not_compute_as_its_fake_quantized_model_is_an_error(images, tmp_path, monkeypatch):
    """The converter gets kernels that are 15 % too large: near enough to the float model, not to the simulation."""
    convert = tflite.convert

    def wrong(form, *rest, **options):
        kernel = form.get_layer("second").kernel
        kernel.assign(kernel * 1.15)
        content = convert(form, *rest, **options)
        kernel.assign(kernel / 1.15)
        return content

    monkeypatch.setattr(tflite, "convert", wrong)
    with pytest.raises(kyb.ExportError, match=r"m.tflite does not follow the fake-quantized model: P3 1\d\.\d dB"):
        kyb.export_tflite(network(), tmp_path / "m.tflite", precision="int8", calibration=images, method="minmax")
    assert list(tmp_path.iterdir()) == []


def test_bad_combinations(images, tmp_path):
    model = network()
    aware = kyb.quantize_aware(model, images, method="minmax")
    with pytest.raises(kyb.ArgumentError, match=r"unknown method: 'ms'; did you mean 'mse'\?"):
        kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=images, method="ms")
    with pytest.raises(kyb.ArgumentError, match=r"calibration, method, input_type, keep_float and outputs go with"):
        kyb.export_tflite(model, tmp_path / "m.tflite", method="mse")
    with pytest.raises(kyb.ArgumentError, match="its ranges are its own; leave out precision, calibration and method"):
        kyb.export_tflite(aware, tmp_path / "m.tflite", method="mse")
    plan = kyb.quantization.plan(model, images, method="minmax")
    with pytest.raises(kyb.ArgumentError, match="a plan has its method; leave out method"):
        kyb.export_tflite(model, tmp_path / "m.tflite", precision="int8", calibration=plan, method="mse")
    assert list(tmp_path.iterdir()) == []
    assert np.isfinite(model.predict_on_batch(np.float32(images) / 255)["P3"]).all()


@pytest.mark.parametrize("keep_float", [(), ("second",)])
def test_float_outputs_cost_one_dequantize_and_change_no_value(images, tmp_path, keep_float):
    options = {"precision": "int8", "calibration": images, "keep_float": keep_float}
    integer, floating = (
        kyb.export_tflite(network(), tmp_path / f"{outputs}.tflite", outputs=outputs, **options)
        for outputs in ("int8", "float32")
    )
    assert integer.manifest["outputs"]["P3"]["dtype"] == "int8"
    assert floating.manifest["outputs"]["P3"]["dtype"] == "float32"
    assert "scale" not in floating.manifest["outputs"]["P3"]
    counts = [artifact.manifest["operators"].get("DEQUANTIZE", 0) for artifact in (integer, floating)]
    assert counts == [len(keep_float), len(keep_float) + 1]
    values = [LiteModel(artifact.path)(np.float32(images[:2]) / 255)["P3"] for artifact in (integer, floating)]
    np.testing.assert_array_equal(*values)


def test_outputs_have_two_types(images, tmp_path):
    with pytest.raises(kyb.ArgumentError, match=r"unknown outputs: 'float16'"):
        kyb.export_tflite(
            network(), tmp_path / "m.tflite", precision="int8", calibration=images, method="minmax", outputs="float16"
        )


def test_the_bound_of_a_network_that_amplifies_every_step():
    def floats(*ratios):
        return {
            f"P{n}": agreement(np.float32([1, 0]), np.float32([1, 10 ** (-db / 20)])) for n, db in enumerate(ratios)
        }

    assert least_of_simulation(floats(40.0, 30.0)) == 20.0
    assert least_of_simulation(floats(25.0, 6.0)) == pytest.approx(9.0, abs=1e-4)
