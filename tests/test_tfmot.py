"""The tf_keras twin, and what tensorflow-model-optimization makes of it."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
from quantized import element_types, kernels_per_channel, outputs, small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import Style, channel_attention, conv
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.quantization.tfmot.engine import toolbox

LEGACY = os.environ.get("TF_USE_LEGACY_KERAS")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the toolbox warns of its own old calls
    pytest.mark.xdist_group("tfmot"),
]


@pytest.fixture(scope="module")
def model(photographs):
    return small("v8-n", "relu6", photographs)


@pytest.fixture(scope="module")
def images(photographs):
    return np.float32(photographs[:4]) / 255


@pytest.fixture(scope="module")
def aware(model, photographs):
    return kyb.quantize_aware(model, photographs, engine="tfmot", method="minmax")


@pytest.mark.parametrize(("name", "activation"), [("v8-n", "silu"), ("v3-tiny", None)])
def test_the_twin_gives_the_same_numbers(name, activation, photographs, images):
    model = small(name, activation, photographs)
    twin = kyb.to_tf_keras(model)
    assert type(twin).__module__.startswith("tf_keras")
    assert [w.shape for w in twin.get_weights()] == [w.shape for w in model.get_weights()]
    found = twin(images, training=False)
    for level, features in run(model, images).items():
        np.testing.assert_allclose(found[level], features, atol=1e-4 * np.abs(features).max())


def test_hard_sigmoid_and_hard_swish_have_twins():
    """tf_keras computes a different function under the first name, and has not the second."""
    keras.utils.set_random_seed(0)
    inputs, style = keras.Input((16, 16, 3), name="images"), Style(activation="hard_swish")
    x = channel_attention(conv(inputs, 8, 3, style=style, name="unit"), style=style, name="attn")
    model = keras.Model(inputs, {"P3": conv(x, 4, style=style, name="end")})
    model.get_layer("attn.fc").bias.assign(np.linspace(-5, 5, 8))
    images = np.random.default_rng(0).normal(0, 4, (2, 16, 16, 3)).astype(np.float32)
    twin = kyb.to_tf_keras(model)
    np.testing.assert_allclose(twin(images)["P3"], model(images)["P3"], rtol=1e-5, atol=1e-6)
    assert twin.get_layer("unit.act").output.shape[1:] == (16, 16, 8)


def test_a_layer_without_twin_is_named(photographs):
    model = kyb.v11("n", input_shape=(64, 64, 3))
    with pytest.raises(kyb.GraphError, match=r"layer '.*scores' \(MatMul\) has no twin in tf_keras"):
        kyb.to_tf_keras(model)
    with pytest.raises(kyb.GraphError, match=r'\(MatMul\) has no twin .* engine="keras"'):
        kyb.quantize_aware(model, photographs, engine="tfmot", method="minmax")


def test_both_engines_give_the_same_file(model, aware, photographs, tmp_path):
    assert os.environ.get("TF_USE_LEGACY_KERAS") == LEGACY
    theirs = kyb.export_tflite(aware, tmp_path / "tfmot.tflite")
    ours = kyb.export_tflite(kyb.quantize_aware(model, photographs, method="minmax"), tmp_path / "keras.tflite")
    for key in ("operators", "input", "outputs"):
        assert theirs.manifest[key] == ours.manifest[key]
    assert element_types(theirs.path) == {"INT8", "INT32"}
    assert kernels_per_channel(theirs.path) == (31, 31)
    found = outputs(theirs.path, photographs)
    for level, features in outputs(ours.path, photographs).items():
        np.testing.assert_array_equal(found[level], features)


def test_the_tfmot_engine_trains(model, aware, images):
    import tf_keras

    before = aware.get_weights()
    targets = {level: features * 0.8 for level, features in run(model, images).items()}
    aware.compile(tf_keras.optimizers.Adam(1e-4), loss=dict.fromkeys(targets, "mse"))
    history = aware.fit(images, targets, epochs=3, batch_size=4, verbose=0).history["loss"]
    aware.set_weights(before)
    assert history[-1] < 0.9 * history[0]


def test_options_that_do_not_go_together(model, photographs):
    with pytest.raises(kyb.ArgumentError, match=r"unknown engine: 'tfmott'; did you mean 'tfmot'\?"):
        kyb.quantize_aware(model, photographs, engine="tfmott", method="minmax")
    with pytest.raises(kyb.ArgumentError, match="learn_ranges goes with"):
        kyb.quantize_aware(model, photographs, engine="tfmot", learn_ranges=True, method="minmax")


def test_the_twin_can_be_pruned(model, images):
    import tf_keras

    pruning = toolbox().tfmot.sparsity.keras
    twin = kyb.to_tf_keras(model)
    # The toolbox reads a model's outputs as a list.
    flat = tf_keras.Model(twin.inputs, list(twin.output.values()))

    def half(layer):
        if not isinstance(layer, tf_keras.layers.Conv2D):
            return layer
        return pruning.prune_low_magnitude(layer, pruning.ConstantSparsity(0.5, begin_step=0, frequency=1))

    pruned = tf_keras.models.clone_model(flat, clone_function=half)
    pruned.compile(tf_keras.optimizers.SGD(1e-4), loss="mse")
    targets = list(run(model, images).values())
    pruned.fit(images, targets, epochs=2, batch_size=4, verbose=0, callbacks=[pruning.UpdatePruningStep()])
    stripped = pruning.strip_pruning(pruned)
    kernels = [layer.get_weights()[0] for layer in stripped.layers if isinstance(layer, tf_keras.layers.Conv2D)]
    assert len(kernels) == sum(isinstance(layer, keras.layers.Conv2D) for layer in model.layers)
    for kernel in kernels:
        assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.02)
