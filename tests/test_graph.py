"""Reading and rebuilding models that users make: nested, shared, with bare operations."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import SIDE, disturbed
from golden import relative_error
from keras import ops

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import keep, rebuild, recast
from keras_yolo_backbones.graph.upsample import upsampling_as_resize

IMAGES = np.random.default_rng(3).random((2, SIDE, SIDE, 3), np.float32)


def head(name: str = "head") -> keras.Sequential:
    return keras.Sequential(
        [keras.layers.Conv2D(4, 3, padding="same", name="conv"), keras.layers.BatchNormalization(name="bn")], name=name
    )


def with_operations() -> keras.Model:
    """A head of bare operations, a slice and a layer that is called twice."""
    backbone = kyb.v8("n", input_shape=(SIDE, SIDE, 3))
    levels = backbone.output
    shared = keras.layers.Conv2D(8, 3, padding="same", name="shared")
    top = ops.image.resize(levels["P5"], (8, 8), interpolation="nearest")
    x = ops.concatenate([top, levels["P3"]], axis=-1)
    y = shared(x) * 2.0 + shared(ops.flip(x, axis=1))
    return keras.Model(backbone.input, {"boxes": ops.relu(y[:, :, :, :2]), "scores": head()(y)})


def nested() -> keras.Model:
    """Backbone and head as layers of an outer model, the head called twice, the backbone frozen."""
    images = keras.Input((SIDE, SIDE, 3), name="camera")
    levels = kyb.v8("n", input_shape=(SIDE, SIDE, 3))(images, training=False)
    project = [keras.layers.Conv2D(8, 1, name=f"project{i}") for i in (0, 1)]
    predict = head()
    return keras.Model(images, [predict(layer(levels["P3"])) for layer in project])


def same_twice() -> keras.Model:
    """Two submodels whose layers have the same names."""
    images = keras.Input((SIDE, SIDE, 3))
    return keras.Model(images, [head("first")(images), head("second")(images)])


def ends_in_a_submodel() -> keras.Model:
    """The outputs are those of a functional submodel, called once."""
    images = keras.Input((SIDE, SIDE, 3))
    return keras.Model(images, kyb.v8("n", input_shape=(SIDE, SIDE, 3))(images)["P3"])


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), *head().layers, keras.layers.ReLU()], name="plain")


MODELS = [with_operations, nested, same_twice, ends_in_a_submodel, sequential]


def outputs_of(model: keras.Model) -> list[np.ndarray]:
    return [ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(model(IMAGES, training=False))]


@pytest.mark.parametrize("make", MODELS)
def test_a_rebuilt_model_computes_the_same(make):
    model = disturbed(make())
    before = [layer.name for layer in model.layers], outputs_of(model)
    copy = rebuild(read(model), keep)
    assert not set(map(id, copy.layers)) & set(map(id, model.layers))
    for a, b in zip(outputs_of(copy), before[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert [layer.name for layer in model.layers] == before[0]
    if isinstance(copy.output, dict):
        assert list(copy.output) == list(model.output)


@pytest.mark.parametrize(("make", "left"), [(with_operations, 0), (nested, 1), (same_twice, 0), (sequential, 0)])
def test_fuse_folds_what_it_can_and_nothing_else(make, left):
    """A head that two levels share keeps its batch norm: its convolution is called twice."""
    model = disturbed(make())
    fused = kyb.fuse(model)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in fused.layers) == left
    for a, b in zip(outputs_of(fused), outputs_of(model), strict=True):
        assert relative_error(a, b) < 1e-5


def test_nested_models_are_read_through():
    graph = read(nested())
    names = [node.name for node in graph.nodes]
    assert "v8-n.stem.conv" in names
    assert names.count("head.conv") == 2
    assert not any(isinstance(node.layer, keras.Model) for node in graph.nodes)
    conv = next(node for node in graph.nodes if node.name == "head.conv")
    assert not graph.called_once(conv.layer)


def test_a_frozen_backbone_stays_frozen():
    """`training=False` of a nested call reaches the batch norms inside."""
    graph = read(nested())
    norms = [node for node in graph.nodes if isinstance(node.layer, keras.layers.BatchNormalization)]
    assert {node.kwargs.get("training") for node in norms if node.name.startswith("v8-n")} == {False}
    assert {node.kwargs.get("training") for node in norms if node.name.startswith("head")} == {None}


def test_a_node_comes_after_its_inputs():
    for make in MODELS:
        seen = set()
        for node in read(make()).nodes:
            assert all(value.node in seen for value in node.inputs)
            seen.add(node)


def test_recast_changes_the_policy_and_keeps_the_weights():
    model = kyb.v8("n", dtype="mixed_float16", input_shape=(32, 32, 3))
    copy = recast(model, "float32")
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    assert recast(copy, "float32") is copy
    for a, b in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Forgetful(keras.layers.Layer):
    """A layer that cannot give its config."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


def test_models_that_cannot_be_read_say_why():
    images = keras.Input((8, 8, 3))
    with pytest.raises(kyb.GraphError, match=r"\(Forgetful\) cannot be rebuilt from its config; .* needs a get_config"):
        kyb.fuse(keras.Model(images, Forgetful(lambda x: x)(images)))


def test_weights_that_are_not_finite_are_found():
    model = kyb.v8("n", input_shape=(32, 32, 3))
    model.get_layer("stem.bn").gamma.assign(np.full(16, np.nan))
    with pytest.raises(kyb.GraphError, match="are its weights and constants finite"):
        kyb.fuse(model)


@pytest.mark.parametrize("size", [(2, 2), (1, 3)])
def test_upsampling_becomes_one_resize(size):
    images = keras.Input((4, 6, 3))
    model = keras.Model(images, keras.layers.UpSampling2D(size, name="up")(images))
    copy = upsampling_as_resize(model)
    assert isinstance(copy.get_layer("up"), keras.layers.Resizing)
    values = IMAGES[:, :4, :6]
    np.testing.assert_array_equal(copy(values), model(values))


def test_upsampling_by_16_is_two_resizes():
    images = keras.Input((4, 6, 3))
    model = keras.Model(images, keras.layers.UpSampling2D(16, name="up")(images))
    copy = upsampling_as_resize(model)
    sizes = [(layer.height, layer.width) for layer in copy.layers if isinstance(layer, keras.layers.Resizing)]
    assert sizes == [(32, 48), (64, 96)]
    np.testing.assert_array_equal(copy(IMAGES[:, :4, :6]), model(IMAGES[:, :4, :6]))


def test_upsampling_that_is_no_repeat_stays():
    images = keras.Input((4, 6, 3))
    bilinear = keras.Model(images, keras.layers.UpSampling2D(2, interpolation="bilinear", name="up")(images))
    assert upsampling_as_resize(bilinear) is bilinear
    images = keras.Input((None, None, 3))
    open_size = keras.Model(images, keras.layers.UpSampling2D(2, name="up")(images))
    assert isinstance(upsampling_as_resize(open_size).get_layer("up"), keras.layers.UpSampling2D)


@keras.saving.register_keras_serializable("tests")
class Counted(keras.initializers.Initializer):
    """Ones, and how often they were drawn."""

    drawn = 0

    def __call__(self, shape, dtype=None):
        Counted.drawn += 1
        return ops.ones(shape, dtype)

    def get_config(self):
        return {}


def test_copies_keep_their_initializers_and_draw_nothing():
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Conv2D(2, 3, kernel_initializer=Counted(), name="conv")(images))
    model.get_layer("conv").set_weights([np.full((3, 3, 3, 2), 5.0), np.full(2, 7.0)])
    before = Counted.drawn
    copy = rebuild(read(model), keep).get_layer("conv")
    assert Counted.drawn == before == 1
    assert isinstance(copy.kernel_initializer, Counted)
    assert copy.get_config() == model.get_layer("conv").get_config()
    assert [np.unique(weight).tolist() for weight in copy.get_weights()] == [[5.0], [7.0]]


@keras.saving.register_keras_serializable("tests")
class Table(keras.layers.Layer):
    """Asks its initializer for a constant that is no weight."""

    def __init__(self, **options):
        super().__init__(**options)
        self.initializer = keras.initializers.RandomUniform(0.5, 1, seed=3)

    def build(self, shape):
        self.table = ops.convert_to_numpy(self.initializer((shape[-1],)))

    def call(self, x):
        return x * self.table


def test_initializers_of_layers_of_the_users_are_left_alone():
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, Table()(images))
    values = np.ones((1, 8, 8, 3), np.float32)
    assert np.array_equal(rebuild(read(model), keep).predict_on_batch(values), model.predict_on_batch(values))
    assert model.predict_on_batch(values).min() >= 0.5
