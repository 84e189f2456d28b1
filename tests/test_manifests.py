"""What artifacts say of their input: nothing that is not so of this model; and that they compute what they say."""

from __future__ import annotations

import dataclasses
import io

import keras
import numpy as np
import onnx
import pytest
from PIL import Image

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.tf_serving.saved_model import run_in_session
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.preprocessing import BGR_PIXELS, RGB, Preprocessing
from keras_yolo_backbones.provenance import Provenance, set_provenance

L = keras.layers
MEAN = Preprocessing("BGR", 255.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
SIDE = 32


def small(preprocessing=RGB, *, channels=3, batch=None, dtype=None, size=SIDE, before=()):
    """A level of stride 8 and one of stride 32, with weights that take what is said."""
    images = x = keras.Input(batch_shape=(batch, size, size, channels), name="images")
    for layer in before:
        x = layer(x)
    x = L.Conv2D(8, 8, strides=8, activation="relu", name="stem", dtype=dtype)(x)
    top = L.Conv2D(4, 4, strides=4, padding="same", name="top", dtype=dtype)(x)
    keras.utils.set_random_seed(0)
    model = keras.Model(images, {"P3": x, "P5": top})
    for layer in model.layers:
        if layer.weights:
            low, high = preprocessing.range
            kernel = np.random.default_rng(1).normal(0.05, 0.1, layer.kernel.shape) / max(abs(low), abs(high))
            layer.kernel.assign(kernel)
    facts = dict.fromkeys(("file", "sha256", "format", "network", "project", "licence"), "")
    if preprocessing != RGB:
        set_provenance(model, Provenance(**facts, preprocessing=preprocessing, original=preprocessing))
    return model


def decibels(artifact, level):
    """Agreement of a level; the manifest of an exact artifact has none."""
    found = artifact.manifest["agreement"][level]
    return np.inf if found["max_error"] == 0 else found["snr_db"]


def test_colours_are_claimed_of_three_channels_only(tmp_path):
    for channels, color in ((1, "grey"), (3, "RGB"), (4, None)):
        artifact = kyb.export_tflite(small(channels=channels), tmp_path / "a.tflite")
        assert artifact.manifest["preprocessing"]["color"] == color
    assert image_input(small(BGR_PIXELS, channels=1)).preprocessing.describe()["color"] == "grey"


def test_reduced_precision_is_compared_with_the_float32_twin(tmp_path):
    """The files compute in float32 and are right to 100 dB; the model itself rounds each value to 8 or 11 bits."""
    for dtype in ("mixed_bfloat16", "mixed_float16"):
        model = small(dtype=dtype)
        for artifact in (
            kyb.export_tflite(model, tmp_path / "a.tflite"),
            kyb.export_onnx(model, tmp_path / "a.onnx"),
        ):
            assert artifact.manifest["precision"] == "float32"
            assert min(decibels(artifact, level) for level in ("P3", "P5")) > 100


def test_a_saved_model_says_what_its_layers_compute_in(tmp_path):
    options = {"signatures": ("serving_default",), "batch_sizes": (1,)}
    model = small(dtype="mixed_bfloat16")
    assert kyb.export_saved_model(model, tmp_path / "a", **options).manifest["precision"] == "bfloat16"
    model = keras.Model(model.input, {"P3": L.Conv2D(2, 1, name="head", dtype="float32")(model.output["P3"])})
    assert kyb.export_saved_model(model, tmp_path / "b", **options).manifest["precision"] == "bfloat16, float32"


def test_the_batch_is_that_of_the_file(tmp_path):
    """A model of a fixed batch: TFLite files have 1, ONNX files any."""
    model = small(batch=4)
    assert kyb.export_tflite(model, tmp_path / "a.tflite").manifest["input"]["shape"] == [1, SIDE, SIDE, 3]
    artifact = kyb.export_onnx(model, tmp_path / "a.onnx")
    assert artifact.manifest["input"]["shape"] == [None, SIDE, SIDE, 3]
    dims = onnx.load(artifact.path).graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"


@pytest.mark.parametrize("taken", [BGR_PIXELS, MEAN], ids=["pixels", "mean"])
def test_an_original_s_convention_is_in_the_file(tmp_path, photographs, taken):
    model = small(taken)
    artifact = kyb.export_tflite(
        model, tmp_path / "a.tflite", precision="int8", calibration=photographs[:, :SIDE, :SIDE], method="minmax"
    )
    manifest, entry = artifact.manifest, artifact.manifest["input"]
    assert manifest["preprocessing"] == taken.describe()
    low, high = taken.range
    assert entry["scale"] == pytest.approx((high - low) / 255, rel=1e-6)
    assert decibels(artifact, "P5") > 25
    kept = onnx.load(kyb.export_onnx(model, tmp_path / "a.onnx").path).metadata_props
    assert '"BGR"' in next(found.value for found in kept if found.key == "preprocessing")


def test_mean_and_deviation_in_the_graph_are_one_integer_operator(tmp_path, photographs):
    scale, offset = MEAN.standardization()
    model = small(before=[L.Rescaling(scale, offset, name="normalization")])
    calibration = photographs[:, :SIDE, :SIDE]
    trained = kyb.export_tflite(kyb.quantize_aware(model, calibration, method="minmax"), tmp_path / "b.tflite")
    posted = kyb.export_tflite(model, tmp_path / "a.tflite", precision="int8", calibration=calibration, method="minmax")
    for artifact in (trained, posted):
        operators = artifact.manifest["operators"]
        assert (operators["DEPTHWISE_CONV_2D"], operators["CONV_2D"]) == (1, 2)
        assert set(operators) <= {"DEPTHWISE_CONV_2D", "CONV_2D", "PAD"}
        assert artifact.manifest["input"]["scale"] == pytest.approx(1 / 255, rel=1e-6)
        assert decibels(artifact, "P5") > 25


def test_signatures_take_rgb_bytes_and_turned_files_whatever_the_model_takes(tmp_path, photographs):
    model = small(dataclasses.replace(BGR_PIXELS, padding=(10, 20, 30)))
    artifact = kyb.export_saved_model(model, tmp_path / "a", batch_sizes=(1,))
    pixels, turned = np.ascontiguousarray(photographs[0][:24, :SIDE]), Image.Exif()
    turned[0x0112] = 6
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", exif=turned, quality=95)
    (tmp_path / "a.jpg").write_bytes(content.getvalue())
    ready = kyb.preprocess(tmp_path / "a.jpg", model)
    assert (ready.frames[0].size, ready.images[0, 0, 0].tolist()) == ((32, 24), [30, 20, 10])
    wanted = model(ready.images, training=False)
    asked = {
        "encoded": {"image_bytes": [content.getvalue()]},
        "uint8": {"images": ready.frames[0].image[np.newaxis]},
        "serving_default": {"images": ready.images},
    }
    for signature, inputs in asked.items():
        found = run_in_session(artifact.path, inputs, signature)
        np.testing.assert_allclose(found["P5"], wanted["P5"], rtol=1e-4, atol=1e-4)


def test_open_sizes_that_no_level_fits_are_refused(tmp_path):
    model = small(size=None)
    for export in (
        lambda: kyb.export_tflite(model, tmp_path / "a.tflite", image_size=100),
        lambda: kyb.export_saved_model(model, tmp_path / "a", image_size=(100, 96)),
    ):
        with pytest.raises(
            kyb.ArgumentError, match="100 is no multiple of 32, the model's largest stride; use 96 or 128"
        ):
            export()
