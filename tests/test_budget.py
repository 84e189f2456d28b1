"""A bound in dB instead of measures: the layer that is bad by construction is found and stays float."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.litert import operators
from keras_yolo_backbones.quantization.sensitivity import unit_of


@pytest.fixture(scope="module")
def model():
    """Of three convolutions, the middle one has weights of very different sizes, all of which matter."""
    keras.utils.set_random_seed(0)
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(12, 3, padding="same", activation="relu", name="good.conv")(images)
    x = keras.layers.Conv2D(12, 1, activation="relu", name="bad.conv")(x)
    model = keras.Model(images, {"P3": keras.layers.Conv2D(8, 3, padding="same", name="last.conv")(x)}, name="uneven")
    random = np.random.default_rng(0)
    sizes = np.array([1 / 24, *np.ones(11)])
    kernel = random.uniform(0.2, 0.4, (3, 3, 3, 12)) * np.sign(random.normal(size=(3, 3, 3, 12))) * sizes
    model.get_layer("good.conv").set_weights([kernel, np.abs(random.normal(1.0, 0.2, 12)) * sizes])
    model.get_layer("bad.conv").set_weights([random.normal(size=(1, 1, 12, 12)) / sizes[:, None], np.zeros(12)])
    return model


def test_the_bad_layer_is_kept_float(model, photographs, tmp_path):
    crops = np.concatenate([photographs[:, at : at + 16, at : at + 16] for at in (0, 24, 48)])
    loose = kyb.quantization.at_least(model, crops, 5.0, epochs=0, parts=0, quiet=True)
    assert [point.measures for point in loose.points] == ["auto"]
    assert loose.met
    bound = loose.chosen.weakest + 0.5
    found = kyb.quantization.at_least(model, crops, bound, epochs=0, parts=0, most_float=0.9, quiet=True)
    assert found.met, str(found)
    assert [point.measures for point in found.points] == ["auto", "auto, float: bad"]
    assert found.chosen.float_macs == pytest.approx(144 / (27 * 12 + 144 + 9 * 12 * 8))
    assert "dB" in str(found)
    file = kyb.export_tflite(found.model, tmp_path / "m.tflite").path
    convolutions = [operator.kinds for operator in operators(file) if operator.name == "CONV_2D"]
    assert [any("FLOAT32" in kind for kind in kinds) for kinds in convolutions] == [False, True, False]


def test_a_bound_out_of_reach_is_said_to_be(model, photographs):
    crops = np.concatenate([photographs[:, at : at + 16, at : at + 16] for at in (0, 24, 48)])
    found = kyb.quantization.at_least(model, crops, 150.0, epochs=0, parts=0, most_float=0.01, quiet=True)
    assert not found.met
    assert "150 dB cannot be met by these measures; the best is auto" in str(found)
    with pytest.raises(kyb.ArgumentError, match="least_db=-3: expected dB between 0 and 200"):
        kyb.quantization.at_least(model, crops, -3)


def test_units_are_called_as_users_call_them():
    names = ("stem.conv", "stage2.cv1.at16.conv", "spp.cv2.conv", "head")
    assert [unit_of(name) for name in names] == ["stem", "stage2.cv1", "spp.cv2", "head"]


def test_a_search_refuses_the_options_that_it_chooses_itself(tmp_path, capfd):
    command = ["quantize", "v8-n", "--images", str(tmp_path), "--out", str(tmp_path / "out"), "--at-least-db", "25"]
    assert main([*command, "--batch-size", "4", "--learning-rate", "1e-4", "--method", "mse"]) == 2
    told = " ".join(capfd.readouterr().err.split())
    assert "chooses all measures itself: leave out --batch-size, --learning-rate, --method." in told
    assert not (tmp_path / "out").exists()


def test_the_number_of_epochs_is_checked_before_anything_is_built(tmp_path, capfd):
    command = ["quantize", "v8-n", "--images", str(tmp_path), "--out", str(tmp_path / "out"), "--epochs", "-1"]
    assert main(command) == 2
    assert "--epochs -1: expected 0 or more." in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_network_without_anything_to_round_is_said_to_be_one():
    images = keras.Input((16, 16, 3), name="images")
    model = keras.Model(images, {"P1": keras.layers.MaxPooling2D(2)(images)}, name="bare")
    with pytest.raises(kyb.GraphError, match="'bare' has no convolution, no dense layer"):
        kyb.quantization.plan(model, np.zeros((8, 16, 16, 3), np.uint8) + np.uint8(9))
