"""The common signature, on YOLOv8: what each argument does to the network."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from conftest import DATA

import keras_yolo_backbones as kyb
from keras_yolo_backbones.blocks import ACTIVATIONS
from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.graph.cost import activation_memory

ORIGINALS = json.loads((DATA / "originals.json").read_text())


def parameters(model: keras.Model) -> int:
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


@pytest.mark.parametrize("name", ["v8-n", "v8-x6"])
def test_multiply_accumulates_equal_the_original(name):
    assert kyb.macs(kyb.create(name)) == ORIGINALS[name]["macs"]


def test_activation_memory_is_the_largest_sum_of_live_tensors():
    x = images = keras.Input((8, 8, 2))  # 128 values
    x = keras.layers.Conv2D(4, 1)(x)  # 256
    y = keras.layers.ReLU()(x)  # 256, beside x
    y = keras.layers.Conv2D(4, 1)(y)  # 256, beside x and y
    x = keras.layers.Add()([x, y])  # 256, beside both
    model = keras.Model(images, keras.layers.MaxPooling2D()(x))
    assert activation_memory(model) == 3 * 256
    with pytest.raises(kyb.GraphError, match="has the open shape"):
        activation_memory(kyb.v8("n", input_shape=(None, None, 3)))


def test_defaults():
    model = kyb.v8()
    assert model.name == "v8-s"
    assert (model.input.name, model.input.shape) == ("images", (None, 640, 640, 3))
    assert {name: tensor.shape for name, tensor in model.output.items()} == {
        "P3": (None, 80, 80, 128),
        "P4": (None, 40, 40, 256),
        "P5": (None, 20, 20, 512),
    }


def test_p6_networks_return_p6():
    model = kyb.v8("n6", input_shape=(128, 64, 3))
    assert [level[:3] for level in kyb.pyramid(model)] == [
        ("P3", 8, 64),
        ("P4", 16, 128),
        ("P5", 32, 192),
        ("P6", 64, 256),
    ]


def test_levels_come_in_the_order_asked_for():
    model = kyb.v8("n", levels=("P5", "P2"), input_shape=(64, 64, 3))
    assert list(model.output) == ["P5", "P2"]
    assert model.output["P2"].shape == (None, 16, 16, 32)


def test_levels_that_nobody_asked_for_cost_nothing():
    model = kyb.v8("n", levels=("P2",), input_shape=(64, 64, 3))
    assert not any(layer.name.startswith(("stage3", "down3", "spp")) for layer in model.layers)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_replaces_all(activation):
    model = kyb.v8("n", activation=activation, input_shape=(32, 32, 3))
    acts = [layer.get_config() | {"name": ""} for layer in model.layers if layer.name.endswith(".act")]
    kinds = {json.dumps(config, default=str) for config in acts}
    assert len(kinds) == 1
    outputs = model.predict_on_batch(np.ones((1, 32, 32, 3), np.float32))
    assert all(np.isfinite(value).all() for value in outputs.values())


@pytest.mark.parametrize(
    ("activation", "at_minus_4", "at_8"),
    [
        ("silu", -4 / (1 + np.exp(4)), 8 / (1 + np.exp(-8))),
        ("relu", 0.0, 8.0),
        ("relu6", 0.0, 6.0),
        ("leaky_relu", -0.4, 8.0),
        ("mish", -4 * np.tanh(np.log1p(np.exp(-4))), 8 * np.tanh(np.log1p(np.exp(8)))),
        ("hard_swish", 0.0, 8.0),
    ],
)
def test_activations_are_those_of_the_papers(activation, at_minus_4, at_8):
    values = np.array([[-4.0, 8.0]], np.float32)
    result = ACTIVATIONS[activation](name="act")(values)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(result), [[at_minus_4, at_8]], rtol=1e-5, atol=1e-6)


def test_only_stock_layers_and_no_nesting():
    for layer in kyb.v8("m", input_shape=(64, 64, 3)).layers:
        assert type(layer).__module__.startswith("keras.src.layers."), layer.name
        assert not isinstance(layer, (keras.Model, keras.layers.Lambda))


def test_neck_channels_project_every_level():
    model = kyb.v8("n", neck_channels=48, input_shape=(64, 64, 3))
    assert [level.channels for level in kyb.pyramid(model)] == [48, 48, 48]
    assert parameters(model) == 1272656 + (64 + 128 + 256) * 48 + 3 * 2 * 48


@pytest.mark.parametrize("wrong", [True, 0, -8, 1.5, "64"])
def test_neck_channels_are_a_positive_integer(wrong):
    with pytest.raises(kyb.ArgumentError, match="neck_channels must be a positive integer or None, not"):
        kyb.v8("n", neck_channels=wrong)


def test_epsilon_reaches_every_batch_norm():
    model = kyb.v8("n", epsilon=1e-5, input_shape=(64, 64, 3))
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 31
    assert {norm.epsilon for norm in norms} == {1e-5}


@pytest.mark.parametrize("wrong", [0, -1e-3, 1.0, True, "1e-3", float("nan")])
def test_epsilon_is_a_small_positive_number(wrong):
    with pytest.raises(kyb.ArgumentError, match="epsilon must be a number between 0 and 1 such as 1e-3, or None, not"):
        kyb.v8("n", epsilon=wrong)


@pytest.mark.parametrize("name", ["v3-spp", "v3-u-spp", "v5-n", "v5-5.0-s", "v8-n6", "v10-n", "v11-n", "yolox-nano"])
def test_linear_spp_has_one_activation_less(name):
    plain, linear = (kyb.create(name, spp=spp, input_shape=(64, 64, 3)) for spp in (True, "linear"))
    layers = [{layer.name for layer in model.layers} for model in (plain, linear)]
    assert layers[0] - layers[1] == {"spp.cv1.act"}
    assert layers[1] < layers[0]
    assert linear.get_layer("spp.pool0").input is linear.get_layer("spp.cv1.bn").output


@pytest.mark.parametrize("name", ["v3-tiny", "v3-base", "v4-base", "v6-n", "v7-base", "v9-t", "v12-n", "v26-n"])
def test_linear_spp_where_there_is_no_such_block(name):
    with pytest.raises(kyb.ArgumentError, match=r"spp='linear' leaves out the activation .* has none to leave out; "):
        kyb.create(name, spp="linear")


@pytest.mark.parametrize("wrong", ["yes", None, 1, 0.0])
def test_spp_is_one_of_three(wrong):
    with pytest.raises(kyb.ArgumentError, match="spp must be True, False or 'linear', not"):
        kyb.v8("n", spp=wrong)


def test_rescaling_takes_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    plain = kyb.v8("n", input_shape=(64, 64, 3))
    rescaling = kyb.v8("n", input_shape=(64, 64, 3), include_rescaling=True)
    rescaling.set_weights(plain.get_weights())
    a, b = plain.predict_on_batch(pixels / 255), rescaling.predict_on_batch(pixels)
    for level in a:
        np.testing.assert_allclose(b[level], a[level], rtol=1e-4, atol=1e-7)


def test_builds_on_a_given_tensor():
    images = keras.Input((64, 96, 3), name="camera")
    model = kyb.v8("n", input_tensor=images, name="mine")
    assert (model.name, model.input.name) == ("mine", "camera")
    assert model.output["P5"].shape == (None, 2, 3, 256)


def test_two_backbones_on_one_tensor(tmp_path):
    images = keras.Input((64, 64, 3), name="images")
    left, right = (kyb.v8("n", input_tensor=images, name=name) for name in ("left", "right"))
    tensors = {f"{level}_{model.name}": x for model in (left, right) for level, x in model.output.items()}
    both = keras.Model(images, tensors, name="both")
    assert [level.layer for level in kyb.pyramid(left)] == ["stage3.cv2.act", "stage4.cv2.act", "spp.cv2.act"]
    source = kyb.v8("n", input_shape=(64, 64, 3))
    kyb.export_weights(source, tmp_path / "v8.safetensors")
    assert kyb.load_weights(right, tmp_path / "v8.safetensors").placed == 135
    sample = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)
    features, wanted, fused = both(sample), source(sample), kyb.fuse(both)
    assert {"left.stem.conv", "right.stem.conv"} <= {layer.name for layer in fused.layers}
    for level, value in wanted.items():
        np.testing.assert_array_equal(features[f"{level}_right"], value)
        assert np.abs(features[f"{level}_left"] - value).max() > 0
        np.testing.assert_allclose(fused(sample)[f"{level}_left"], features[f"{level}_left"], atol=1e-4)
    frozen = kyb.freeze(both, until="left")
    assert len(frozen) == 62
    assert not left.get_layer("left").get_layer("stem.conv").trainable
    assert right.get_layer("right").get_layer("stem.conv").trainable
    kyb.export_weights(left, tmp_path / "left.safetensors")
    assert kyb.identify(tmp_path / "left.safetensors").name == "v8-n"


def test_open_sizes_run_at_any_size():
    model = kyb.v8("n", input_shape=(None, None, 3))
    for height, width in ((64, 96), (32, 160)):
        outputs = model.predict_on_batch(np.zeros((1, height, width, 3), np.float32))
        assert outputs["P4"].shape == (1, height // 16, width // 16, 128)


@pytest.mark.parametrize("name", ["v8-n", "v3-tiny", "v6-n", "yolox-nano", "v13-n"])
def test_open_sizes_that_no_stride_divides_are_refused_at_the_call(name):
    model = kyb.create(name, input_shape=(None, 64, 3), levels=("P3",))
    images = keras.Input((None, None, 3))
    around = keras.Model(images, keras.layers.GlobalAveragePooling2D()(model(images * 2)["P3"]))
    for each in (model, around, kyb.fuse(model), keras.Model(model.input, model.output["P3"])):
        each(np.zeros((1, 96, 64, 3), np.float32))
        for call in (each, each.predict_on_batch):
            with pytest.raises(ValueError, match=r"expected shape=.*, <a multiple of 32>, None\)"):
                call(np.zeros((1, 100, 64, 3), np.float32))


def test_dtype_policy_reaches_every_layer():
    model = kyb.v8("n", dtype="mixed_bfloat16", input_shape=(64, 64, 3))
    policies = {layer.dtype_policy.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}
    assert policies == {"mixed_bfloat16"}
    assert keras.config.dtype_policy().name == "float32"
    assert {variable.dtype for variable in model.weights} == {"float32"}
    assert model.output["P3"].dtype == "bfloat16"


def test_sync_batchnorm_reaches_every_batch_norm():
    for wanted in (False, True):
        model = kyb.v8("n", sync_batchnorm=wanted, input_shape=(64, 64, 3))
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        assert len(norms) == 31
        assert {norm.synchronized for norm in norms} == {wanted}
        assert {(norm.epsilon, norm.momentum) for norm in norms} == {(1e-3, 0.97)}


def test_global_data_format_changes_nothing():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        assert kyb.v8("n", input_shape=(64, 64, 3)).output["P3"].shape == (None, 8, 8, 64)
    finally:
        keras.config.set_image_data_format(before)


def test_gradients_reach_every_weight():
    import tensorflow as tf

    model = kyb.v8("n", input_shape=(64, 64, 3))
    with tf.GradientTape() as tape:
        outputs = model(tf.random.uniform((2, 64, 64, 3), seed=0), training=True)
        loss = sum(tf.reduce_mean(value**2) for value in outputs.values())
    gradients = tape.gradient(loss, model.trainable_variables)
    assert len(gradients) == 31 * 3
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("name", "options", "channels", "like"),
    [
        ("v8", {"width": 0.125, "depth": 0.33}, [16, 32, 64, 128], None),
        ("v8-s", {"width": 0.25}, [32, 64, 128, 256], "v8-n"),
        ("v5-s", {"depth": 0.67, "width": 0.75}, [96, 192, 384, 768], "v5-m"),
        ("v10-l", {"max_channels": 256, "depth": 0.33, "width": 0.5}, [64, 128, 128, 128], None),
        ("yolox-s", {"width": 0.3}, [38, 76, 152, 304], None),
        ("rtmdet-s", {"width": 0.3}, [38, 76, 153, 307], None),
        ("ppyoloe-s", {"width": 0.25}, [32, 64, 128, 256], None),
    ],
)
def test_any_width_and_depth(name, options, channels, like):
    model = kyb.create(name, levels=("P2", "P3", "P4", "P5"), input_shape=(64, 64, 3), **options)
    assert [level.channels for level in kyb.pyramid(model)] == channels
    by_name = kyb.create(model.name, levels=("P2", "P3", "P4", "P5"), input_shape=(64, 64, 3))
    assert [layer.name for layer in by_name.layers] == [layer.name for layer in model.layers]
    assert parameters(by_name) == parameters(model)
    if like:
        assert parameters(model) == ORIGINALS[like]["parameters"]


def test_weights_of_any_width_go_out_and_in(tmp_path):
    model = kyb.v8("n", width=0.125, depth=0.67, input_shape=(64, 64, 3))
    assert model.name == "v8-n-w0.125-d0.67"
    kyb.export_weights(model, tmp_path / "a.safetensors")
    other = kyb.v8("n", width=0.125, depth=0.67, input_shape=(64, 64, 3))
    loaded = kyb.load_weights(other, tmp_path / "a.safetensors")
    assert (loaded.ignored, loaded.unplaced, loaded.initial) == ((), (), ())
    images = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    for level, value in model(images).items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(other(images)[level]))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("v8-n", {"width": 0}, "width must be a positive number such as 0.25, or None, not 0"),
        ("v8-n", {"depth": "1"}, "depth must be a positive number such as 0.25, or None, not '1'"),
        ("v8-n", {"max_channels": 1.5}, "max_channels must be a positive integer or None, not 1.5"),
        ("v9-t", {"width": 0.5}, "width: v9-t has a table of its own, no multiples; v5, v6, "),
        ("v12-n", {"width": 0.1}, "area attention on 28 channels: expected a multiple of 32; change width"),
        ("v8-n-w0.5", {"width": 0.1}, "width=0.1: the name 'v8-n-w0.5' says the width already"),
    ],
)
def test_widths_and_depths_that_do_not_go(name, options, message):
    with pytest.raises(kyb.ArgumentError, match=message):
        kyb.create(name, input_shape=(64, 64, 3), **options)


@pytest.mark.parametrize(
    ("name", "stem"), [("v8-n", "stem.conv"), ("damo-t", "stem.conv"), ("rtmdet-tiny", "stem.0.conv")]
)
@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_any_number_of_channels(name, stem, channels):
    """Only the first kernel is another."""
    with without_values():
        colour, model = (kyb.create(name, input_shape=(64, 96, count)) for count in (3, channels))
    kernel = model.get_layer(stem).kernel.shape
    assert kernel == (*colour.get_layer(stem).kernel.shape[:2], channels, kernel[-1])
    assert model.output_shape == colour.output_shape
    more = (channels - 3) * kernel[0] * kernel[1] * kernel[-1] * 32 * 48
    assert kyb.macs(model) - kyb.macs(colour) == more
    assert activation_memory(model) >= 64 * 96 * channels + 32 * 48 * kernel[-1]


def test_multiples_fuse_and_export(tmp_path):
    """Of two families of different kinds; the least int8 network that anybody builds."""
    images = np.random.default_rng(0).random((8, 32, 32, 3), np.float32)
    for name, options in (("v8", {"width": 0.125, "depth": 0.33}), ("yolox", {"width": 0.125, "depth": 0.33})):
        model = kyb.create(name, input_shape=(32, 32, 3), **options)
        fused = kyb.fuse(model)
        for level, value in model(images).items():
            np.testing.assert_allclose(fused(images)[level], value, rtol=1e-3, atol=1e-4)
        file = kyb.export_tflite(
            model, tmp_path / f"{name}.tflite", precision="int8", calibration=images, method="minmax"
        )
        assert file.manifest["model"] == model.name == f"{name}-s-w0.125-d0.33"
