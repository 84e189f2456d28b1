"""Fake-quantized Keras models: as good as post-training quantization, trainable, and their int8 files."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from quantized import element_types, kernels_per_channel, outputs, small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.rewrite import recast
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.litert import LiteModel
from keras_yolo_backbones.quantization.kernels import QuantizedConv2D, fake_quantized
from keras_yolo_backbones.quantization.layers import FakeQuant
from keras_yolo_backbones.quantization.simulated import RoundedAdd

FAST = [("v8-n", "silu"), ("v11-n", "relu6")]
SMALLEST = (
    *("v3-tiny", "v4-tiny", "v4-scaled-csp", "v5-n", "v5-5.0-s", "v6-n", "v7-tiny", "v8-n", "v9-t", "v10-n"),
    *("v11-n", "v12-n", "v12-turbo-n", "v26-n", "yolox-nano", "v6-mbla-s", "v6-lite-s", "v13-n", "nas-s"),
    *("damo-ns", "damo-t", "damo-m", "rtmdet-tiny", "ppyoloe-s", "v8-cls-n", "v11-cls-n", "v12-cls-n", "v26-cls-n"),
)
MATRIX = [(name, activation) for name in SMALLEST for activation in ("relu6", None)]


def check_variant(name, activation, photographs, folder):
    """What holds for every network: the file of a calibrated model is that of post-training quantization."""
    model = small(name, activation, photographs)
    aware = kyb.quantize_aware(model, photographs, method="minmax")
    ours = kyb.export_tflite(aware, folder / "ours.tflite")
    theirs = kyb.export_tflite(
        model, folder / "theirs.tflite", precision="int8", calibration=photographs, method="minmax"
    )
    assert ours.manifest["operators"] == theirs.manifest["operators"]
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(ours.manifest["operators"])
    assert element_types(ours.path) <= {"INT8", "INT32"}
    kernels, per_channel = kernels_per_channel(ours.path)
    assert kernels == per_channel > 5
    assert list(LiteModel(ours.path).tensors()) == ["images", "P3", "P4", "P5"]
    features, mine, others = (
        run(model, np.float32(photographs) / 255),
        *(outputs(artifact.path, photographs) for artifact in (ours, theirs)),
    )
    for level in ("P3", "P4", "P5"):
        ratio, bound = (agreement(features[level], found[level]).snr_db for found in (mine, others))
        assert ratio >= bound - 0.5, f"{level}: {ratio:.1f} dB, post-training {bound:.1f} dB"
    return aware, ours, mine


@pytest.mark.parametrize(("name", "activation"), FAST)
def test_before_training_the_file_is_that_of_post_training_quantization(name, activation, photographs, tmp_path):
    aware, ours, mine = check_variant(name, activation, photographs, tmp_path)
    for level, features in run(aware, np.float32(photographs) / 255).items():
        assert agreement(features, mine[level]).snr_db > 20
    assert ours.manifest["precision"] == "int8"
    assert ours.manifest["input"]["scale"] == pytest.approx(1 / 255)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_network_trained_in_half_precision_becomes_the_int8_file_of_its_float32_weights(
    policy, photographs, tmp_path
):
    """With a head of one's own, and Keras' global policy as it was for training."""
    before = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    try:
        keras.config.set_dtype_policy(policy)
        backbone = kyb.v8("n", width=0.125, input_shape=(32, 32, 3), levels=("P3",))
        boxes = keras.layers.Conv2D(4, 1, name="own.boxes")(keras.layers.ReLU()(backbone.output["P3"]))
        model = keras.Model(backbone.input, {"P3": backbone.output["P3"], "boxes": boxes})
        assert model.output["boxes"].dtype == policy.removeprefix("mixed_")
        images = photographs[:, :32, :32]
        plan = kyb.quantization.plan(model, images, method="minmax")
        aware = kyb.quantize_aware(model, plan)
        assert {layer.compute_dtype for layer in aware.layers if layer.weights} == {"float32"}
        artifact = kyb.export_tflite(aware, tmp_path / "m.tflite")
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy(before)
    assert element_types(artifact.path) <= {"INT8", "INT32"}
    wanted, found = run(recast(model, "float32"), np.float32(images) / 255), outputs(artifact.path, images)
    for name in ("P3", "boxes"):
        assert agreement(wanted[name], found[name]).snr_db > 20


@pytest.mark.slow
@pytest.mark.parametrize(("name", "activation"), MATRIX)
def test_every_family(name, activation, photographs, tmp_path):
    """Before training, the file is the fake-quantized model; one step of training reaches the kernels."""
    aware, _, mine = check_variant(name, activation, photographs, tmp_path)
    images = np.float32(photographs) / 255
    found = run(aware, images)
    assert min(agreement(features, mine[level]).snr_db for level, features in found.items()) > 20
    # A step of Adam without epsilon is as large for a small gradient: only kernels without any stay as they are.
    aware.compile(keras.optimizers.Adam(1e-3, epsilon=1e-20), loss=dict.fromkeys(found, "mse"))
    kernels = [layer.kernel for layer in aware.layers if hasattr(layer, "kernel")]
    before = [kernel.numpy() for kernel in kernels]
    loss = aware.train_on_batch(images, {level: features + 1 for level, features in found.items()})
    assert np.isfinite(loss).all()
    assert all(np.isfinite(kernel.numpy()).all() for kernel in kernels)
    # A squeezed map has as few as two channels: with random weights, ReLU may let nothing through.
    still = [kernel.path for kernel, old in zip(kernels, before, strict=True) if np.array_equal(kernel.numpy(), old)]
    assert len(still) <= len(kernels) // 10, still


@pytest.fixture(scope="module")
def model(photographs):
    return small("v8-n", "relu6", photographs)


@pytest.fixture(scope="module")
def aware(model, photographs):
    return kyb.quantize_aware(model, photographs, method="minmax")


def test_the_source_is_left_untouched_and_refused_twice(aware, photographs, tmp_path):
    with pytest.raises(kyb.ArgumentError, match="is fake-quantized already"):
        kyb.quantize_aware(aware, photographs, method="minmax")
    with pytest.raises(kyb.ArgumentError, match="its file is int8"):
        kyb.export_tflite(aware, tmp_path / "x.tflite", precision="float16")
    assert list(tmp_path.iterdir()) == []
    assert list(aware.output) == ["P3", "P4", "P5"]


def test_it_trains_saves_and_loads(model, photographs, tmp_path):
    aware = kyb.quantize_aware(model, photographs, method="minmax")
    images = np.float32(photographs[:4]) / 255
    targets = {level: features * 0.8 for level, features in run(model, images).items()}
    aware.compile(keras.optimizers.Adam(1e-4), loss=dict.fromkeys(targets, "mse"))
    aware.optimizer.build(aware.trainable_variables)  # otherwise TensorFlow traces the step twice
    kernel = aware.get_layer("stem.conv").kernel
    quants = [layer for layer in aware.layers if isinstance(layer, FakeQuant)]
    before, ranges = kernel.numpy(), np.stack([layer.range.numpy() for layer in quants])
    history = aware.fit(images, targets, epochs=3, batch_size=4, verbose=0).history["loss"]
    assert history[-1] < 0.9 * history[0]
    assert np.abs(kernel.numpy() - before).max() > 1e-5
    np.testing.assert_array_equal(np.stack([layer.range.numpy() for layer in quants]), ranges)
    aware.save(tmp_path / "aware.keras")
    loaded = keras.saving.load_model(tmp_path / "aware.keras")
    for level, features in run(aware, images).items():
        np.testing.assert_array_equal(run(loaded, images)[level], features)


def test_learned_ranges_move_but_fixed_ones_do_not(photographs):
    aware = kyb.quantize_aware(small("v8-n", "silu", photographs), photographs, learn_ranges=True, method="minmax")
    quants = {layer.name: layer for layer in aware.layers if isinstance(layer, FakeQuant)}
    assert quants["images.quant"].shift is None
    assert quants["stem.act.sigmoid.quant"].shift is None
    assert quants["stem.act.quant"].shift.trainable


def test_it_trains_under_a_distribution_strategy(model, photographs):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        aware = kyb.quantize_aware(model, photographs, method="minmax")
        aware.compile(keras.optimizers.SGD(1e-4), loss=dict.fromkeys(aware.output, "mse"))
    targets = run(model, np.float32(photographs[:2]) / 255)
    history = aware.fit(np.float32(photographs[:2]) / 255, targets, batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_a_plan_can_be_given_and_must_fit(model, photographs, tmp_path):
    plan = kyb.quantization.plan(model, photographs, method="minmax")
    plan.save(tmp_path / "plan.json")
    images = np.float32(photographs[:2]) / 255
    from_plan = run(kyb.quantize_aware(model, tmp_path / "plan.json"), images)
    for level, features in run(kyb.quantize_aware(model, photographs, method="minmax"), images).items():
        np.testing.assert_array_equal(from_plan[level], features)
    with pytest.raises(kyb.CalibrationError, match=r"the plan for 'v8-n' has no"):
        kyb.quantize_aware(kyb.v8("s", activation="relu6", input_shape=(64, 64, 3)), plan)


def test_kernels_are_rounded_to_255_steps_of_their_own_channel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 5)).astype(np.float32)
    rounded = np.asarray(fake_quantized(keras.ops.convert_to_tensor(kernel), (-1,)))
    step = np.abs(kernel).max((0, 1, 2)) / 127
    np.testing.assert_allclose(rounded, np.rint(kernel / step) * step, atol=1e-6)
    depthwise = np.asarray(fake_quantized(keras.ops.convert_to_tensor(kernel), (-2, -1)))
    step = np.abs(kernel).max((0, 1)) / 127
    np.testing.assert_allclose(depthwise, np.rint(kernel / step) * step, atol=1e-6)
    transposed = np.asarray(fake_quantized(keras.ops.convert_to_tensor(kernel), (-2,)))
    step = np.abs(kernel).max((0, 1, 3), keepdims=True)[0, 0] / 127
    np.testing.assert_allclose(transposed, np.rint(kernel / step) * step, atol=1e-6)


def test_biases_are_rounded_as_the_file_holds_them():
    layer = QuantizedConv2D(3, 1, input_step=0.5)
    layer.build((None, 4, 4, 2))
    kernel = np.array([[1.27, 2.54, 0.127], [0.3, -1.0, 0.05]], np.float32)
    layer.set_weights([kernel.reshape(1, 1, 2, 3), np.array([0.0121, -0.024, 0.0012], np.float32)])
    # steps: 0.5 · (0.01, 0.02, 0.001)
    np.testing.assert_allclose(layer(np.zeros((1, 1, 1, 2)))[0, 0, 0], [0.01, -0.02, 0.001], atol=1e-7)
    exact = QuantizedConv2D.from_config(layer.get_config() | {"input_step": None})
    exact.build((None, 4, 4, 2))
    exact.set_weights(layer.get_weights())
    np.testing.assert_allclose(exact(np.zeros((1, 1, 1, 2)))[0, 0, 0], [0.0121, -0.024, 0.0012], atol=1e-7)


def test_ties_of_sums_are_rounded_up():
    """Whole steps of 12/255 plus odd ones of 6/255 lie half way between two; in float32 they fall to either side."""
    wide, narrow = (FakeQuant(0.0, high) for high in (12.0, 6.0))
    steps, halves = np.meshgrid(np.arange(128), np.arange(0, 127))
    a, b = wide(steps * np.float32(12 / 255)), narrow((2 * halves + 1) * np.float32(6 / 255))
    expected = steps + halves + 1
    rounded = np.asarray(wide(RoundedAdd(step=12 / 255)([a, b])))
    np.testing.assert_array_equal(np.rint(rounded / (12 / 255)), expected)
    naive = np.asarray(wide(keras.layers.Add()([a, b])))
    assert np.mean(np.rint(naive / (12 / 255)) != expected) > 0.05


def test_learned_ranges_leave_biases_and_sums_exact(photographs):
    aware = kyb.quantize_aware(small("v8-n", "relu6", photographs), photographs, learn_ranges=True, method="minmax")
    assert not any(isinstance(layer, RoundedAdd) for layer in aware.layers)
    steps = {layer.name: layer.input_step for layer in aware.layers if isinstance(layer, QuantizedConv2D)}
    assert {name for name, step in steps.items() if step} == {"stem.conv"}  # the images' range is never learned
    fixed = kyb.quantize_aware(small("v8-n", "relu6", photographs), photographs, method="minmax")
    assert all(layer.input_step for layer in fixed.layers if isinstance(layer, QuantizedConv2D))


def test_learned_ends_of_a_range_move_apart_and_keep_zero_inside():
    quant = FakeQuant(-1.0, 3.0, learn=True)
    np.testing.assert_array_equal(quant.range, [-1, 3])
    quant.shift.assign([-0.01, 0.02])  # a hundredth moves an end by the whole width
    np.testing.assert_allclose(quant.range, [-5, 11])
    quant.shift.assign([0.01, -0.02])
    np.testing.assert_allclose(quant.range, [0, 0.04])
    from_zero = FakeQuant(-2.0, 0.0, learn=True)
    from_zero.shift.assign([0.0, 0.005])
    np.testing.assert_allclose(from_zero.range, [-2, 1])
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(from_zero(tf.constant([5.0])))
    assert float(tape.gradient(y, from_zero.shift)[1]) == pytest.approx(200)
