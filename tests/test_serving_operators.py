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
from keras_yolo_backbones.export.tf_serving.operators import PaddedConv2D, fusable
from keras_yolo_backbones.export.tf_serving.signatures import build_signatures
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
    same(made, model, 1e-6)
    found = optimized(made, tmp_path / "made")
    assert found["_MklNativeFusedConv2D", "BiasAdd", "Relu6"] == 35
    assert found[("Sub",)] == 1
    # Should this fail one day, TensorFlow has mended its optimizer, and the sum can be written as a sum.
    assert optimized(model, tmp_path / "plain")["_MklNativeFusedConv2D", "BiasAdd", "Relu6"] == 0


@pytest.mark.parametrize("last", [True, False])
def test_the_sum_is_the_same_to_the_bit_in_both_orders(last):
    x = keras.Input((8, 8, 4), name="images")
    y = keras.layers.DepthwiseConv2D(3, padding="same", bias_initializer="random_normal")(x)
    model = keras.Model(x, {"sum": keras.layers.Add()([x, y] if last else [y, x])})
    made = fusable(model)
    assert [type(layer).__name__ for layer in made.layers] == ["InputLayer", "DepthwiseConv2D", "Subtract"]
    same(made, model, 0.0)


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


@pytest.mark.parametrize("changes", [{"groups": 2}, {"dilation_rate": 2}, {"data_format": "channels_first"}])
def test_other_convolutions_stay(changes):
    x = keras.Input((8, 8, 8), name="images")
    model = keras.Model(x, keras.layers.Conv2D(4, 3, **changes)(x))
    assert not any(isinstance(layer, PaddedConv2D) for layer in fusable(model).layers)
