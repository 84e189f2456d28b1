"""`stem_stride=1`: every map twice as large, by the same layers with the same weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import disturbed
from test_every_family import SMALLEST

import keras_yolo_backbones as kyb
from keras_yolo_backbones.fragile import without_values

KINDS = ["v3-tiny", "v3-base", "v5-n", "v6-n", "v7-base", "v12-turbo-n", "nas-s"]
"""One for each way in which a network begins."""

SIDE = 32


def unbuilt(name: str, **options) -> keras.Model:
    with without_values():
        return kyb.create(name, input_shape=(2 * SIDE, 4 * SIDE, 3), **options)


@pytest.mark.parametrize("name", sorted({*SMALLEST, *KINDS}))
def test_levels_move_down_and_keep_their_strides(name):
    usual, wide = unbuilt(name), unbuilt(name, stem_stride=1)
    assert [level[:2] for level in kyb.pyramid(wide)] == [("P2", 4), ("P3", 8), ("P4", 16)]
    assert [level[2:] for level in kyb.pyramid(wide)] == [level[2:] for level in kyb.pyramid(usual)]
    for before, after in zip(usual.output.values(), wide.output.values(), strict=True):
        assert after.shape == (None, 2 * before.shape[1], 2 * before.shape[2], before.shape[3])
    shapes = [{weight.path: weight.shape for weight in model.weights} for model in (usual, wide)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", KINDS)
def test_every_second_cell_of_the_first_maps_is_that_of_stride_2(name):
    """Down to the layer that halves first; its padding starts at the same pixels."""
    usual, wide = (kyb.create(name, input_shape=(32, 64, 3), stem_stride=stride) for stride in (2, 1))
    wide.set_weights(usual.get_weights())
    last = next(
        layer.name
        for layer in usual.layers
        if layer.output.shape[1:3] == (16, 32) and isinstance(layer, (keras.layers.Conv2D, keras.layers.MaxPooling2D))
    )
    images = np.random.default_rng(0).random((1, 32, 64, 3), np.float32)
    first, second = (keras.Model(m.input, m.get_layer(last).output)(images).numpy() for m in (usual, wide))
    assert second.shape[1:3] == (32, 64)
    np.testing.assert_allclose(second[:, ::2, ::2], first, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def wide() -> keras.Model:
    return disturbed(kyb.v8("n", stem_stride=1, activation="relu6", input_shape=(SIDE, SIDE, 3)))


def test_sides_are_multiples_of_the_largest_stride():
    assert kyb.v8("n", stem_stride=1, input_shape=(16, 48, 3)).output["P4"].shape == (None, 1, 3, 256)
    with pytest.raises(kyb.ArgumentError, match=r"height 24 is no multiple of 16, the network's largest stride"):
        kyb.v8("n", stem_stride=1, input_shape=(24, 48, 3))
    model = kyb.v8("n", stem_stride=1, input_shape=(None, None, 3))
    assert model(np.zeros((1, 16, 48, 3), np.float32))["P4"].shape == (1, 1, 3, 256)
    with pytest.raises(ValueError, match="multiple of 16"):
        model(np.zeros((1, 24, 48, 3), np.float32))


def test_lower_and_missing_levels():
    model = kyb.v8("n6", stem_stride=1, levels=("P1", "P5"), input_shape=(64, 64, 3))
    assert [level[:3] for level in kyb.pyramid(model)] == [("P1", 2, 32), ("P5", 32, 256)]
    with pytest.raises(kyb.ArgumentError, match=r"level of this v8: 'P5'\. Allowed: P1, P2, P3, P4\."):
        kyb.v8("n", stem_stride=1, levels=("P5",))


@pytest.mark.parametrize("wrong", [0, 3, True, 1.0, "1", None])
def test_the_stride_is_1_or_2(wrong):
    with pytest.raises(kyb.ArgumentError, match="stem_stride must be 2, or 1 for maps twice as large"):
        kyb.v8("n", stem_stride=wrong)


def test_weights_go_from_one_to_the_other(tmp_path, wide):
    kyb.export_weights(wide, tmp_path / "a.safetensors")
    usual = kyb.v8("n", activation="relu6", input_shape=(64, 64, 3))
    loaded = kyb.load_weights(usual, tmp_path / "a.safetensors")
    assert (loaded.ignored, loaded.unplaced, loaded.initial) == ((), (), ())
    for mine, theirs in zip(usual.get_weights(), wide.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_it_fuses_and_costs_four_times_as_much(wide):
    fused, images = kyb.fuse(wide), np.random.default_rng(1).random((2, SIDE, SIDE, 3)).astype(np.float32)
    for level, value in wide(images).items():
        np.testing.assert_allclose(fused(images)[level], value, rtol=1e-3, atol=1e-4)
    assert kyb.macs(wide) == 4 * kyb.macs(kyb.v8("n", input_shape=(SIDE, SIDE, 3)))


def test_it_becomes_an_int8_file(tmp_path, wide, photographs):
    images = photographs[:, :SIDE, :SIDE]
    manifest = kyb.export_tflite(
        wide, tmp_path / "m.tflite", precision="int8", calibration=images, method="minmax"
    ).manifest
    assert [(name, entry["stride"]) for name, entry in manifest["outputs"].items()] == [
        ("P2", 4),
        ("P3", 8),
        ("P4", 16),
    ]
    assert manifest["operators"] == {"CONV_2D": 31, "ADD": 6, "PAD": 4, "CONCATENATION": 5, "MAX_POOL_2D": 3}


STRIDES = {"P2": 4, "P3": 8, "P4": 16}


def strides(artifact) -> dict[str, int]:
    return {name: entry["stride"] for name, entry in artifact.manifest["outputs"].items()}


def test_it_becomes_an_onnx_file(tmp_path, wide):
    artifact = kyb.export_onnx(wide, tmp_path / "m.onnx")
    assert strides(artifact) == STRIDES
    assert min(artifact.manifest["agreement"][level]["snr_db"] for level in STRIDES) > 90


@pytest.mark.slow
def test_it_becomes_a_saved_model(tmp_path, wide):
    artifact = kyb.export_saved_model(wide, tmp_path / "m", batch_sizes=(1,))
    assert strides(artifact) == STRIDES
    images = np.random.default_rng(2).random((2, SIDE, SIDE, 3)).astype(np.float32)
    found = tf.saved_model.load(artifact.path).signatures["serving_default"](images=tf.constant(images))
    for level, value in wide(images).items():
        np.testing.assert_allclose(found[level], value, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_trains_as_int8_will_compute_it(tmp_path, wide, photographs):
    images = photographs[:8, :SIDE, :SIDE]
    aware = kyb.quantize_aware(wide, images, method="minmax")
    aware.compile(keras.optimizers.Adam(1e-4), dict.fromkeys(STRIDES, "mse"))
    inputs = np.float32(images) / 255
    targets = {level: value.numpy() * 0.8 for level, value in wide(inputs).items()}
    before = aware.get_layer("stem.conv").kernel.numpy()
    assert np.isfinite(aware.fit(inputs, targets, verbose=0).history["loss"][0])
    assert np.abs(aware.get_layer("stem.conv").kernel.numpy() - before).max() > 1e-5
    artifact = kyb.export_tflite(aware, tmp_path / "m.tflite")
    assert strides(artifact) == STRIDES
    # None where every value is equal
    assert min(artifact.manifest["agreement"][level]["snr_db"] or np.inf for level in STRIDES) > 20
