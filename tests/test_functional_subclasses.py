"""Functional models of a class of their own, as keras-hub writes them: every pass and exporter takes them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from conftest import SIDE, disturbed

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.litert import LiteModel


class Detector(keras.Model):
    """A backbone and a head that two levels share; the class cannot give its config, and trains in its own way."""

    def __init__(self, backbone, classes, **kwargs):
        shared = keras.layers.Conv2D(classes, 1, name="scores")
        adapt = keras.layers.Conv2D(64, 1, name="adapt")
        levels = backbone.output
        outputs = {"small": shared(levels["P3"]), "large": shared(adapt(levels["P4"]))}
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)
        self.backbone = backbone
        self.classes = classes

    def train_step(self, data):
        raise NotImplementedError


def detector() -> keras.Model:
    keras.utils.set_random_seed(1)
    backbone = kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3))
    return disturbed(Detector(backbone, 5, name="mine"))


@pytest.fixture(scope="module")
def model():
    return detector()


@pytest.fixture(scope="module")
def images(photographs):
    return np.float32(photographs[:2]) / 255


def least_snr(reference, candidate) -> float:
    return min(agreement(reference[name], candidate[name]).snr_db for name in reference)


def test_fuse_and_the_twin(model, images):
    fused = kyb.fuse(model)
    assert not isinstance(fused, Detector)
    assert sum(isinstance(layer, keras.layers.BatchNormalization) for layer in fused.layers) == 0
    assert fused.count_params() < model.count_params()
    assert least_snr(run(model, images), run(fused, images)) > 100
    twin = kyb.to_tf_keras(model)
    assert least_snr(run(model, images), {name: t.numpy() for name, t in twin(images).items()}) > 100
    assert kyb.macs(model) == kyb.macs(keras.Model(model.inputs, model.output)) > 1e7


def test_nested_in_a_functional_model(model, images):
    camera = keras.Input((SIDE, SIDE, 3), name="camera")
    outer = keras.Model(camera, model(camera)["large"], name="outer")
    fused = kyb.fuse(outer)
    assert {layer.name for layer in fused.layers} >= {"scores", "adapt", "stem.conv"}
    (wanted,), (found,) = run(outer, images).values(), run(fused, images).values()
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_every_exporter_takes_it(model, images, photographs, tmp_path):
    wanted = run(model, images)
    tflite = kyb.export_tflite(model, tmp_path / "a.tflite", precision="int8", calibration=photographs, method="minmax")
    assert set(tflite.manifest["outputs"]) == {"small", "large"}
    assert least_snr(wanted, LiteModel(tflite.path)(images)) > 15
    onnx = kyb.export_onnx(model, tmp_path / "a.onnx")
    assert all(onnx.manifest["agreement"][name]["snr_db"] > 90 for name in wanted)
    served = kyb.export_saved_model(model, tmp_path / "served", signatures=("serving_default",), batch_sizes=(1,))
    assert all(served.manifest["agreement"][name]["snr_db"] > 90 for name in wanted)


def test_quantization_aware_training_takes_it(model, images, photographs):
    aware = kyb.quantize_aware(model, photographs, method="minmax")
    assert list(aware.output) == list(model.output)
    assert least_snr(run(model, images), run(aware, images)) > 15


class Averaging(keras.Model):
    """A functional model whose call does more than its graph."""

    def call(self, inputs, training=None, mask=None):
        return 0.5 * super().call(inputs, training=training, mask=mask)


def test_a_call_of_its_own_is_refused():
    images = keras.Input((8, 8, 3))
    model = Averaging(images, keras.layers.Conv2D(2, 1)(images), name="averaging")
    for use in (kyb.fuse, kyb.macs, kyb.to_tf_keras):
        with pytest.raises(kyb.GraphError, match=r"'averaging' is a Averaging with a call\(\) of its own"):
            use(model)
    kyb.fuse(keras.Model(model.inputs, model.outputs))


def test_a_nested_model_takes_a_dict_by_the_names_of_its_inputs():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    inner = keras.Model([right, left], keras.layers.Subtract()([right, left]))
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    outer = keras.Model([a, b], inner({"left": a, "right": b}))
    values = [np.full((1, 4), 1.0, np.float32), np.full((1, 4), 3.0, np.float32)]
    np.testing.assert_array_equal(kyb.fuse(outer)(values), np.full((1, 4), 2.0))
