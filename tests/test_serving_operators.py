"""The operators of a SavedModel: what is written, and what TensorFlow's optimizer makes of it."""

from __future__ import annotations

import platform
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SIDE, disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.function import save_signatures
from keras_yolo_backbones.export.tf_serving.operators import PaddedConv2D, SiLU, fusable
from keras_yolo_backbones.export.tf_serving.server import XLA_FLAGS
from keras_yolo_backbones.export.tf_serving.signatures import build_signatures
from keras_yolo_backbones.export.tf_serving.stable import stabilize
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.graph.signature import image_input

v1 = tf.compat.v1

onednn = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.system() != "Linux", reason="TensorFlow fuses with oneDNN there"
)


def optimized(model, folder):
    """Operator, with what is fused into it -> how often, in the graph that the session runs."""
    images = image_input(model)
    save_signatures(build_signatures(model, images, ("serving_default",), xla=False), folder)
    with v1.Session(graph=v1.Graph()) as session:
        signature = v1.saved_model.load(session, ["serve"], str(folder)).signature_def["serving_default"]
        fed, found = signature.inputs[images.name].name, [output.name for output in signature.outputs.values()]
        options, metadata = v1.RunOptions(output_partition_graphs=True), v1.RunMetadata()
        session.run(found, {fed: np.zeros((1, *images.shape), np.float32)}, options=options, run_metadata=metadata)
    (graph,) = metadata.partition_graphs
    return Counter(
        (node.op, *(fused.decode() for fused in node.attr["fused_ops"].list.s))
        for node in graph.node
        if node.op != "Const"
    )


def same(made, model, tolerance):
    images = np.random.default_rng(0).random((2, *model.inputs[0].shape[1:]), np.float32)
    wanted, found = run(model, images), run(made, images)
    assert sorted(found) == sorted(wanted)
    for name, value in wanted.items():
        assert np.abs(found[name] - value).max() <= tolerance * np.abs(value).max()


@onednn
def test_every_silu_and_every_pad_is_part_of_its_convolution(tmp_path):
    fused = kyb.fuse(disturbed(kyb.v8("n", input_shape=(SIDE, SIDE, 3))))
    made = fusable(fused)
    same(made, fused, 1e-6)
    found = optimized(made, tmp_path / "made")
    assert found["_MklNativeFusedConv2D", "BiasAdd", "_MklSwish"] == 31
    assert not {kind[0] for kind in found} & {"_MklSwish", "Sigmoid", "Mul", "_MklNativeConv2D", "BiasAdd"}
    assert found[("Pad",)] == 1  # the image that stands for an empty batch
    plain = optimized(fused, tmp_path / "plain")
    assert plain[("_MklSwish",)] == 31  # as Keras writes it: each a pass over its map


@onednn
def test_a_sum_with_a_depthwise_convolution_does_not_stop_the_optimizer(tmp_path):
    model = kyb.fuse(disturbed(kyb.v10("n", input_shape=(SIDE, SIDE, 3), activation="relu6")))
    made = fusable(model)
    same(made, model, 0.0)
    found = optimized(made, tmp_path / "made")
    assert found["_MklNativeFusedConv2D", "BiasAdd", "Relu6"] == 35
    assert found[("EnsureShape",)] == 4  # as many depthwise convolutions without activation
    # Should this fail one day, TensorFlow has mended its optimizer, and the sum can be written as a sum.
    assert optimized(model, tmp_path / "plain")["_MklNativeFusedConv2D", "BiasAdd", "Relu6"] == 0


@onednn
def test_no_sum_with_a_depthwise_convolution_stops_the_optimizer(tmp_path):
    """However it is written: layers of users called several times, operations, what does nothing in between."""
    x = keras.Input((16, 16, 4), name="images")
    depthwise = keras.layers.DepthwiseConv2D(3, padding="same", bias_initializer="random_normal")
    each_channel = keras.layers.Conv2D(4, 3, padding="same", groups=4, bias_initializer="random_normal")
    total = keras.layers.Add()
    y = total([x, depthwise(x)])
    y = depthwise(y) + y
    y = total([keras.layers.Dropout(0.1)(depthwise(y)), y])
    y = keras.layers.Average()([y, depthwise(y)])
    y = keras.ops.add(y, each_channel(y))
    y = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer="random_normal")(y)
    model = keras.Model(x, {"y": y})
    made = fusable(model)
    same(made, model, 1e-6)
    found = optimized(made, tmp_path / "made")
    assert found["_MklNativeFusedDepthwiseConv2dNative", "BiasAdd"] == 5
    assert found["_MklNativeFusedConv2D", "BiasAdd", "Relu"] == 1


@onednn
def test_an_activation_is_fused_into_its_depthwise_convolution(tmp_path):
    x = keras.Input((16, 16, 4), name="images")
    y = keras.layers.ReLU(6.0)(keras.layers.DepthwiseConv2D(3, bias_initializer="random_normal")(x))
    found = optimized(fusable(keras.Model(x, {"y": y})), tmp_path / "made")
    assert found["_MklNativeFusedDepthwiseConv2dNative", "BiasAdd", "Relu6"] == 1


def test_layers_called_several_times_and_nested_models():
    """A head that all levels share."""
    i = keras.Input((None, None, 4))
    padded = keras.layers.Conv2D(4, 3, name="conv")(keras.layers.ZeroPadding2D(1, name="pad")(i))
    block = keras.Model(i, keras.layers.Activation("silu", name="act")(padded), name="block")
    x = keras.Input((16, 16, 4), name="images")
    silu, conv = keras.layers.Activation("silu"), keras.layers.Conv2D(4, 1, name="shared")
    y = silu(conv(silu(conv(block(x)))))
    model = keras.Model(x, {"a": block(y), "b": keras.ops.silu(y)})
    made = fusable(model)
    assert sum(isinstance(layer, SiLU) for layer in made.layers) == 3
    assert [layer.explicit for layer in made.layers if isinstance(layer, PaddedConv2D)] == ["VALID", "VALID"]
    same(made, model, 1e-6)


GROUPED = [
    {"groups": 2},
    {"groups": 8, "padding": "same", "strides": 2},
    {"groups": 8, "filters": 16, "use_bias": False},
    {"groups": 8, "dilation_rate": 2, "padding": "same"},
    {"groups": 8, "strides": (1, 2)},
    {"groups": 4, "dilation_rate": (1, 2), "activation": "silu"},
    {"groups": 4, "activation": "softmax", "padding": "same"},
]


def test_groups_need_no_xla_which_servers_refuse(tmp_path):
    x = keras.Input((9, 11, 8), name="images")
    heads = [
        keras.layers.Conv2D(**{"filters": 8, "kernel_size": 3, "bias_initializer": "random_normal"} | changes)(y)
        for changes in GROUPED
        for y in (x, keras.layers.ZeroPadding2D(((1, 0), (2, 1)))(x))
    ]
    model = keras.Model(x, {f"head{index}": head for index, head in enumerate(heads)})
    made = fusable(model)
    same(made, model, 2e-6)
    for network, compiled in ((made, False), (model, True)):
        images, folder = image_input(network), tmp_path / str(compiled)
        save_signatures(build_signatures(network, images, ("serving_default",), xla=False), folder)
        assert stabilize(folder) is compiled


def test_what_only_xla_computes_is_told_to_the_server(tmp_path):
    x = keras.Input((9, 11, 8), name="images")
    y = keras.layers.Conv1D(8, 3, groups=2)(keras.layers.Reshape((99, 8))(x))
    model = keras.Model(x, {"y": keras.layers.Reshape((97, 8, 1))(y)})
    options = {"signatures": ["serving_default"], "batch_sizes": (1,)}
    artifact = kyb.export_saved_model(model, tmp_path / "m", **options)
    assert set(XLA_FLAGS) < set(artifact.manifest["server"]["flags"])
    (tmp_path / "m/server/compose.yaml").write_text("command: []\n")
    with pytest.raises(kyb.ArgumentError, match="xla_cpu_compilation_enabled"):
        kyb.export_saved_model(model, tmp_path / "m", **options)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["1", "server"]


def test_zeros_go_into_the_convolution_that_alone_uses_them():
    x = keras.Input((9, 11, 3), name="images")
    uneven = keras.layers.ZeroPadding2D(((1, 2), (0, 3)))(x)
    a = keras.layers.Conv2D(4, 3, strides=2, activation="silu", bias_initializer="random_normal")(uneven)
    shared = keras.layers.ZeroPadding2D(1)(x)
    b = keras.layers.Conv2D(4, 3, use_bias=False)(shared)
    c = keras.layers.DepthwiseConv2D(3)(keras.layers.ZeroPadding2D(1)(x))
    model = keras.Model(x, {"a": a, "b": b, "c": c, "zeros": shared})
    made = fusable(model)
    assert [layer.explicit for layer in made.layers if isinstance(layer, PaddedConv2D)] == [
        [[0, 0], [1, 2], [0, 3], [0, 0]],
        "VALID",
    ]
    assert sum(isinstance(layer, keras.layers.ZeroPadding2D) for layer in made.layers) == 2
    assert made.output["a"].shape == model.output["a"].shape == (None, 5, 6, 4)
    same(made, model, 1e-6)


def test_convolutions_of_maps_with_channels_first_stay():
    x = keras.Input((8, 8, 8), name="images")
    model = keras.Model(x, keras.layers.Conv2D(4, 3, data_format="channels_first")(x))
    assert not any(isinstance(layer, PaddedConv2D) for layer in fusable(model).layers)
