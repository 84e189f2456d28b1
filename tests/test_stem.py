"""Originals that take other images than RGB in [0, 1]: folded into the stem at load, taken out again at export."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from conftest import disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.preprocessing import BGR_PIXELS, RGB, RGB_PIXELS, Preprocessing
from keras_yolo_backbones.weights import stem

MEAN = Preprocessing("BGR", 255.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
PIXELS = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def own(model):
    return {layer.name for layer in model.layers if layer.weights}


def outputs(model, images):
    return {level: np.asarray(value) for level, value in model(np.float32(images), training=False).items()}


def farthest(a, b):
    return max(np.abs(a[level] - b[level]).max() / np.abs(b[level]).max() for level in b)


@pytest.mark.parametrize("original", [BGR_PIXELS, RGB_PIXELS, Preprocessing("BGR")], ids=str)
@pytest.mark.parametrize(
    "build", [lambda: kyb.yolox("nano", input_shape=(64, 64, 3)), lambda: kyb.v6("n", input_shape=(64, 64, 3))]
)
def test_folding_is_exact_and_comes_back_bit_for_bit(build, original):
    model = disturbed(build())
    weights = [np.array(weight) for weight in model.get_weights()]
    kernels = {f"{layer.name}.kernel": np.array(layer.kernel) for layer in stem.stem(model, own(model))}
    wanted = outputs(model, original.apply(PIXELS))
    rounding = stem.fold(model, own(model), original)
    assert farthest(outputs(model, PIXELS / np.float32(255)), wanted) < 2e-5
    back = stem.unfolded(model, own(model), original, rounding)
    assert back.keys() == kernels.keys()
    for path, kernel in back.items():
        assert kernel.tobytes() == kernels[path].tobytes()
    changed = [not np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True)]
    assert sum(changed) == len(kernels)


def test_where_dividing_does_not_give_a_bit_back_it_is_noted():
    """Of numbers with all their bits one in 256 comes back as its neighbour; half precision has room for all."""
    model = kyb.yolox("s", input_shape=(32, 32, 3))
    (conv,) = stem.stem(model, own(model))
    kernel = np.random.default_rng(0).normal(size=conv.kernel.shape).astype(np.float32)
    conv.kernel.assign(kernel)
    rounding = stem.fold(model, own(model), BGR_PIXELS)
    assert 5 < len(rounding) < 40
    naive = stem.unfolded(model, own(model), BGR_PIXELS)["stem.conv.kernel"]
    assert np.count_nonzero(naive != kernel) == len(rounding)
    np.testing.assert_array_equal(stem.unfolded(model, own(model), BGR_PIXELS, rounding)["stem.conv.kernel"], kernel)
    conv.kernel.assign(conv.kernel * 1.1)  # trained on: what was noted is of no use, and does no harm
    trained = stem.unfolded(model, own(model), BGR_PIXELS, rounding)["stem.conv.kernel"]
    np.testing.assert_allclose(trained, kernel * 1.1, rtol=3e-7)
    conv.kernel.assign(kernel.astype(np.float16))
    assert stem.fold(model, own(model), BGR_PIXELS) == ()


@pytest.fixture
def standardized(monkeypatch):
    """YOLOv8-n as if its originals took a mean and a deviation."""
    release = dataclasses.replace(kyb.v8.release(None), preprocessing=MEAN)
    monkeypatch.setitem(kyb.v8.releases, next(iter(kyb.v8.releases)), release)
    return disturbed(kyb.v8("n", input_shape=(64, 64, 3)))


def test_mean_and_deviation_are_a_layer_before_the_padding(standardized, monkeypatch):
    monkeypatch.undo()
    bare = kyb.v8("n", input_shape=(64, 64, 3))
    bare.set_weights(standardized.get_weights())
    wanted = outputs(bare, MEAN.apply(PIXELS))
    assert stem.fold(standardized, own(standardized), MEAN) == ()
    assert farthest(outputs(standardized, PIXELS / np.float32(255)), wanted) < 2e-5
    back = stem.unfolded(standardized, own(standardized), MEAN)["stem.conv.kernel"]
    assert back.tobytes() == np.asarray(bare.get_layer("stem.conv").kernel).tobytes()
    for made in (kyb.fuse(standardized), keras.models.clone_model(standardized)):
        if len(made.weights) == len(standardized.weights):
            made.set_weights(standardized.get_weights())
        assert farthest(outputs(made, PIXELS / np.float32(255)), wanted) < 2e-5
    standardized.predict(PIXELS / np.float32(255), verbose=0)
    stem.keep_original(standardized, MEAN)
    standardized.get_layer("stem.conv").kernel.assign(bare.get_layer("stem.conv").kernel)
    predicted = standardized.predict(MEAN.apply(PIXELS), verbose=0)
    assert farthest(predicted, wanted) < 2e-5
    stem.fold(standardized, own(standardized), MEAN)
    assert farthest(outputs(standardized, PIXELS / np.float32(255)), wanted) < 2e-5


def test_what_cannot_be_folded_is_refused():
    model = kyb.v8("n", input_shape=(64, 64, 3))
    before = model.get_weights()
    with pytest.raises(kyb.ArgumentError, match="no layer 'normalization' for the mean and the deviation of BGR in"):
        stem.fold(model, own(model), MEAN)
    x = keras.layers.DepthwiseConv2D(3, name="first")(model.input)
    odd = keras.Model(model.input, x)
    with pytest.raises(kyb.ArgumentError, match="first reads the images and is no convolution"):
        stem.fold(odd, {"first"}, BGR_PIXELS)
    with pytest.raises(kyb.ArgumentError, match=r"divides pixels by 255, the original takes BGR in \[0, 255\]"):
        stem.keep_original(kyb.yolox("nano", input_shape=(64, 64, 3), include_rescaling=True), BGR_PIXELS)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_backbone_behind_the_users_own_layers():
    images = keras.Input((64, 64, 3))
    tensor = keras.layers.Conv2D(3, 1, name="users")(images)
    model = kyb.yolox("nano", input_tensor=tensor)
    assert [layer.name for layer in stem.stem(model, own(model) - {"users"})] == ["stem.conv"]


def test_preprocessing_is_data():
    for value in (RGB, RGB_PIXELS, BGR_PIXELS, MEAN):
        assert Preprocessing.from_data(value.as_json()) == value
        assert Preprocessing.from_data(dataclasses.asdict(value)) == value
        assert Preprocessing.from_description(value.describe()) == value
    assert (RGB.range, BGR_PIXELS.range) == ((0.0, 1.0), (0.0, 255.0))
    np.testing.assert_allclose(MEAN.range, (-123.675 / 58.395, (255 - 103.53) / 57.375))
    pixel = np.array([[[[10, 20, 30]]]], np.uint8)
    np.testing.assert_array_equal(BGR_PIXELS.apply(pixel), [[[[30, 20, 10]]]])
    np.testing.assert_allclose(MEAN.apply(pixel)[0, 0, 0, 0], (30 - 103.53) / 57.375, rtol=1e-6)
    assert str(MEAN) == "BGR in [0, 255], minus (103.53, 116.28, 123.675), divided by (57.375, 57.12, 58.395)"
    assert MEAN.describe() | {"range": None} == {
        "color": "BGR",
        "range": None,
        "resize": "letterbox: keep proportions, centre, pad with 114",
        "divide_pixels_by": 1,
        "mean": [103.53, 116.28, 123.675],
        "deviation": [57.375, 57.12, 58.395],
    }
    good = dataclasses.asdict(RGB)
    for bad in (
        "",
        "{",
        None,
        {},
        good | {"color": "HSV"},
        good | {"largest": -1},
        good | {"deviation": [0]},
        "[" * 9999,
    ):
        with pytest.raises(ValueError, match="preprocessing"):
            Preprocessing.from_data(bad)
