"""Folding batch norms: layer by layer, and on the original's weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import DATA, disturbed
from golden import load, load_into, relative_error

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph import fuse as fuse_module
from keras_yolo_backbones.graph.fuse import _on_small_images

L = keras.layers
IMAGES = np.random.default_rng(5).random((2, 12, 10, 6), np.float32)


def norm(**options):
    return L.BatchNormalization(name="bn", **options)


FOLDABLE = {
    "conv": [L.Conv2D(5, 3), norm()],
    "conv with bias": [L.Conv2D(5, 3, bias_initializer="ones"), norm()],
    "grouped": [L.Conv2D(6, 3, groups=3, padding="same"), norm()],
    "dilated": [L.Conv2D(5, 3, dilation_rate=2), norm()],
    "depthwise": [L.DepthwiseConv2D(3, strides=2), norm()],
    "depthwise, multiplier 2": [L.DepthwiseConv2D(3, depth_multiplier=2), norm()],
    "transposed": [L.Conv2DTranspose(5, 3, strides=2), norm()],
    "dense": [L.Dense(5), norm()],
    "no gamma": [L.Conv2D(5, 1), norm(scale=False)],
    "no beta": [L.Conv2D(5, 1), norm(center=False)],
    "large epsilon": [L.Conv2D(5, 1), norm(epsilon=0.1)],
}

NOT_FOLDABLE = {
    "activated conv": [L.Conv2D(5, 3, activation="relu"), norm()],
    "pool between": [L.Conv2D(5, 3), L.MaxPooling2D(), norm()],
    "other axis": [L.Conv2D(5, 3), norm(axis=1)],
    "norm first": [norm(), L.Conv2D(5, 3)],
}


def sequence(layers) -> keras.Model:
    images = x = keras.Input(IMAGES.shape[1:])
    for layer in layers:
        x = type(layer).from_config(layer.get_config())(x)
    return randomized(keras.Model(images, x))


def randomized(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(1)
    for variable in model.weights:
        variable.assign(random.uniform(0.2, 1.5, variable.shape))
    return model


@pytest.mark.parametrize("kind", FOLDABLE)
def test_folds(kind):
    model = sequence(FOLDABLE[kind])
    fused = kyb.fuse(model)
    assert [type(layer) for layer in fused.layers] == [L.InputLayer, type(FOLDABLE[kind][0])]
    error = relative_error(*(m(IMAGES, training=False).numpy() for m in (fused, model)))
    assert error < 1e-6


@pytest.mark.parametrize("kind", NOT_FOLDABLE)
def test_leaves_alone(kind):
    model = sequence(NOT_FOLDABLE[kind])
    fused = kyb.fuse(model)
    assert [type(layer) for layer in fused.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_array_equal(fused(IMAGES, training=False), model(IMAGES, training=False))


def test_a_convolution_that_others_read_is_not_folded():
    images = keras.Input(IMAGES.shape[1:])
    x = L.Conv2D(5, 3)(images)
    model = randomized(keras.Model(images, [norm()(x), L.ReLU()(x)]))
    assert any(isinstance(layer, L.BatchNormalization) for layer in kyb.fuse(model).layers)
    returned = randomized(keras.Model(images, [x, model.get_layer("bn")(x)]))
    assert any(isinstance(layer, L.BatchNormalization) for layer in kyb.fuse(returned).layers)


@pytest.mark.parametrize("size", ["n", "s", "x", "n6"])
def test_the_originals_weights(size):
    golden = load(DATA / "golden" / f"v8_{size.replace('6', '-p6')}.npz")
    model = kyb.v8(size, levels=tuple(sorted(golden.levels)), input_shape=golden.images.shape[1:])
    load_into(model, golden.tensors)
    fused = kyb.fuse(model)
    assert not any(isinstance(layer, L.BatchNormalization) for layer in fused.layers)
    assert sum(isinstance(layer, L.Conv2D) for layer in fused.layers) == sum(
        isinstance(layer, L.Conv2D) for layer in model.layers
    )
    before, after = (m(golden.images, training=False) for m in (model, fused))
    for level in before:
        assert relative_error(after[level].numpy(), before[level].numpy()) < 1e-5


def test_the_source_is_untouched():
    model = disturbed(kyb.v8("n", input_shape=(32, 32, 3)))
    names, weights = [layer.name for layer in model.layers], model.get_weights()
    fused = kyb.fuse(model)
    assert [layer.name for layer in model.layers] == names
    for a, b in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (fused.name, fused.input.name, list(fused.output)) == ("v8-n", "images", ["P3", "P4", "P5"])
    fused.get_layer("stem.conv").kernel.assign(fused.get_layer("stem.conv").kernel * 0)
    assert np.any(model.get_layer("stem.conv").kernel)


def test_fusing_twice_changes_nothing():
    fused = kyb.fuse(disturbed(kyb.v8("n", input_shape=(32, 32, 3))))
    again = kyb.fuse(fused)
    for a, b in zip(again.get_weights(), fused.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_reduced_precision_is_fused_in_its_own_policy():
    model = disturbed(kyb.v8("n", dtype="mixed_bfloat16", input_shape=(32, 32, 3)))
    fused = kyb.fuse(model)
    assert {layer.dtype_policy.name for layer in fused.layers[1:]} == {"mixed_bfloat16"}


def test_rounding_that_a_network_amplifies_is_no_error():
    """Attention between random weights, at another image size than the batch norms' statistics are from."""
    model = disturbed(kyb.v12("n", activation="relu6", input_shape=(None, None, 3)))
    fused = kyb.fuse(model)
    assert not any(isinstance(layer, (L.BatchNormalization, L.Rescaling)) for layer in fused.layers)


LARGE = (256, 192, 3)
SMALLER = (128, 128)


def large(*layers, dtype="float32"):
    images = x = keras.Input(LARGE, dtype=dtype)
    for layer in layers:
        x = layer(x)
    return randomized(keras.Model(images, x))


@pytest.mark.parametrize(
    ("after", "sizes"),
    [
        ((), [SMALLER]),
        ((L.MaxPooling2D(9, 1, padding="same"),), [SMALLER]),
        ((L.Reshape((256 * 192, 4)),), None),  # fits one size
        ((L.AveragePooling2D(9, 1),), None),  # would leave nothing of a small map
        ((L.Cropping2D(32),), None),
    ],
    ids=["convolution", "pool", "reshape", "large window", "unknown"],
)
def test_models_of_large_images_are_checked_on_small_ones_where_layers_allow_it(after, sizes):
    model = large(L.Conv2D(4, 3, padding="same"), norm(), *after)
    found = _on_small_images(model, kyb.fuse(model))
    assert found is None if sizes is None else [tuple(found[0][0].shape[1:3])] == sizes
    values = np.random.default_rng(0).random((1, *LARGE), np.float32)
    assert relative_error(kyb.fuse(model).predict_on_batch(values), model.predict_on_batch(values)) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32", "int8"])
@pytest.mark.parametrize("after", [(), (L.Reshape((256 * 192, 4)),)], ids=["small", "own size"])
def test_a_wrong_rewrite_of_a_model_of_large_images_is_found(after, dtype, monkeypatch):
    original = fuse_module.fused_unchecked

    def wrong(model):
        fused = original(model)
        kernel = next(layer for layer in fused.layers if layer.weights).weights[0]
        kernel.assign(kernel.numpy() * 1.3)
        return fused

    monkeypatch.setattr(fuse_module, "fused_unchecked", wrong)
    with pytest.raises(kyb.GraphError, match="changed its outputs by"):
        kyb.fuse(large(L.Rescaling(1 / 255), L.Conv2D(4, 3, padding="same"), norm(), *after, dtype=dtype))


class Undescribed(L.Layer):
    """Its config leaves out what it multiplies by."""

    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {"name": self.name}


def test_a_layer_that_its_config_does_not_describe_is_named():
    images = keras.Input((32, 32, 3))
    inner = keras.Sequential([keras.Input((30, 30, 4)), Undescribed(3.0, name="gain")], name="inner")
    model = randomized(keras.Model(images, inner(norm()(L.Conv2D(4, 3)(images))), name="net"))
    with pytest.raises(kyb.GraphError, match=r"copies of the layers of 'net' .* of 'inner.gain' \(Undescribed\)"):
        kyb.fuse(model)
    model.get_layer("inner").get_layer("gain").factor = 2.0
    kyb.fuse(model)


def test_integers_that_are_no_images_may_be_places_in_a_table():
    places = keras.Input((16,), dtype="uint8")
    kyb.fuse(keras.Model(places, L.Dense(2)(L.Embedding(10, 4)(places))))
