"""The smallest network of every family, with its own activation and with ReLU6, through everything that can be done."""

from __future__ import annotations

import functools
import json

import golden
import keras
import numpy as np
import pytest
from conftest import SIDE, disturbed
from quantized import element_types, small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.families import FAMILIES
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.levels import pyramid

PARAMETERS = {
    name: original["parameters"] for name, original in json.loads((golden.DATA / "originals.json").read_text()).items()
}
SMALLEST = [
    min(
        (name for name, (release, _) in family.variants().items() if release not in ("cls", "lite")),
        key=PARAMETERS.__getitem__,
    )
    for family in FAMILIES.values()
]
LEVELS = ["P3", "P4", "P5"]

OPERATORS = {
    "v3-tiny": {"CONV_2D": 6, "MAX_POOL_2D": 6},
    "v4-tiny": {"CONV_2D": 18, "CONCATENATION": 6, "MAX_POOL_2D": 3, "PAD": 2},
    "v5-n": {"CONV_2D": 33, "ADD": 7, "CONCATENATION": 5, "PAD": 4, "MAX_POOL_2D": 3},
    "v6-n": {"CONV_2D": 26, "PAD": 5, "MAX_POOL_2D": 3, "CONCATENATION": 2},
    "v7-tiny": {"CONV_2D": 26, "CONCATENATION": 6, "MAX_POOL_2D": 6, "PAD": 2},
    "v8-n": {"CONV_2D": 31, "ADD": 6, "PAD": 5, "CONCATENATION": 5, "MAX_POOL_2D": 3},
    "v9-t": {"CONV_2D": 81, "ADD": 18, "CONCATENATION": 11, "AVERAGE_POOL_2D": 3, "MAX_POOL_2D": 3, "PAD": 2},
    "v10-n": {"CONV_2D": 40, "DEPTHWISE_CONV_2D": 3, "BATCH_MATMUL": 2, "SOFTMAX": 1},
    "v11-n": {"CONV_2D": 46, "DEPTHWISE_CONV_2D": 1, "BATCH_MATMUL": 2, "SOFTMAX": 1},
    "v12-turbo-n": {"CONV_2D": 75, "DEPTHWISE_CONV_2D": 8, "BATCH_MATMUL": 16, "SOFTMAX": 8},
    "v26-n": {"CONV_2D": 46, "DEPTHWISE_CONV_2D": 1, "BATCH_MATMUL": 2, "SOFTMAX": 1},
    "yolox-nano": {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 12, "ADD": 7, "CONCATENATION": 5, "PAD": 4, "MAX_POOL_2D": 3},
    "v13-n": {"CONV_2D": 75, "DEPTHWISE_CONV_2D": 14, "BATCH_MATMUL": 16, "SOFTMAX": 8},
    # The trained numbers on its shortcuts are 1 here: the converter leaves the products out.
    "nas-s": {"CONV_2D": 43, "ADD": 12, "PAD": 5, "CONCATENATION": 5, "MAX_POOL_2D": 3},
    "rtmdet-tiny": {
        "CONV_2D": 33,
        "MUL": 9,
        "PAD": 5,
        "CONCATENATION": 5,
        "ADD": 4,
        "DEPTHWISE_CONV_2D": 4,
        "MEAN": 4,
        "MAX_POOL_2D": 3,
    },
    "ppyoloe-s": {"CONV_2D": 35, "MUL": 8, "ADD": 6, "PAD": 5, "CONCATENATION": 4, "MEAN": 4},
    "damo-ns": {"CONV_2D": 21, "DEPTHWISE_CONV_2D": 9, "PAD": 5, "ADD": 4, "MAX_POOL_2D": 3, "CONCATENATION": 1},
}
"""Of the fused TFLite file with ReLU6: all operators, with attention those that compute."""


def case(name: str, activation: str | None, *rest: str, slow: bool = False) -> pytest.param:
    marks = [pytest.mark.xdist_group(f"{name} {activation}"), *([pytest.mark.slow] if slow else [])]
    return pytest.param(name, activation, *rest, marks=marks, id="-".join([name, activation or "own", *rest]))


MODELS = [case(name, activation, slow=activation is None) for name in SMALLEST for activation in (None, "relu6")]
EXPORTS = [
    case(name, activation, kind, slow=(activation, kind) != ("relu6", "float32"))
    for name in SMALLEST
    for activation in (None, "relu6")
    for kind in ("float32", "int8", "saved_model", "onnx")
]
"""TFLite with ReLU6, the form for phones, is tested always; the rest takes minutes."""


@functools.lru_cache(maxsize=1)
def built(name: str, activation: str | None) -> keras.Model:
    """The tests of one network come one after another: their parameters have the scope of the module."""
    return disturbed(kyb.create(name, activation=activation, input_shape=(SIDE, SIDE, 3)))


def outputs(model: keras.Model) -> dict[str, np.ndarray]:
    images = np.random.default_rng(1).random((2, SIDE, SIDE, 3)).astype(np.float32)
    return {level: np.asarray(value) for level, value in model(images, training=False).items()}


@pytest.mark.parametrize(("name", "activation"), MODELS, scope="module")
def test_saves_and_loads(tmp_path, name, activation):
    model = built(name, activation)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert (loaded.name, loaded.input.name) == (name, "images")
    assert pyramid(loaded) == pyramid(model)
    for level, value in outputs(loaded).items():
        np.testing.assert_array_equal(value, outputs(model)[level])


@pytest.mark.parametrize(("name", "activation"), [case(name, "relu6") for name in SMALLEST], scope="module")
def test_one_argument_replaces_every_activation(name, activation):
    kinds = {
        json.dumps(layer.get_config() | {"name": ""}, default=str)
        for layer in built(name, activation).layers
        if layer.name.endswith(".act")
    }
    assert len(kinds) == 1
    assert '"max_value": 6.0' in kinds.pop()


@pytest.mark.parametrize(("name", "activation", "kind"), EXPORTS, scope="module")
def test_exports(tmp_path, photographs, name, activation, kind):
    # Noise is all that the batch norms of `built` know: on photographs its values grow from stage to stage.
    model = small(name, activation, photographs) if kind == "int8" else built(name, activation)
    if kind == "saved_model":
        artifact = kyb.export_saved_model(model, tmp_path / "model")
    elif kind == "onnx":
        artifact = kyb.export_onnx(model, tmp_path / "model.onnx")
        assert artifact.manifest["operators"]["Transpose"] == 1 + len(LEVELS)
    else:
        calibration = photographs if kind == "int8" else None
        artifact = kyb.export_tflite(model, tmp_path / "model.tflite", precision=kind, calibration=calibration)
    if kind == "int8":
        assert element_types(artifact.path) <= {"INT8", "INT32"}
    manifest = artifact.manifest
    assert manifest["input"]["name"] == "images"
    assert list(manifest["outputs"]) == LEVELS
    assert [manifest["outputs"][level]["channels"] for level in LEVELS] == [level.channels for level in pyramid(model)]
    if (activation, kind) == ("relu6", "float32"):
        attends = "SOFTMAX" in OPERATORS[name]
        listed = {key: count for key, count in manifest["operators"].items() if key in OPERATORS[name] or not attends}
        assert listed == OPERATORS[name]
    assert min(manifest["agreement"][level]["snr_db"] for level in LEVELS) >= (15 if kind == "int8" else 60)


@pytest.mark.parametrize("name", SMALLEST)
def test_an_open_image_size_gives_the_same_numbers(name):
    model = kyb.create(name, input_shape=(None, None, 3))
    images = np.random.default_rng(2).random((1, 64, 96, 3)).astype(np.float32)
    fixed = kyb.create(name, input_shape=images.shape[1:])
    fixed.set_weights(model.get_weights())
    for level, value in fixed(images).items():
        assert agreement(np.asarray(value), np.asarray(model(images)[level])).relative <= 1e-4
