"""The whole detector of examples/detector: its boxes, its loss, and the weights of originals."""

from __future__ import annotations

import re
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, disturbed
from safetensors.numpy import load_file, save_file

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.running import run

FOLDER = str(ROOT / "examples" / "detector")
MODULES = ("boxes", "loss", "network", "original", "data")


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, FOLDER)
    import boxes
    import data
    import loss
    import network
    import original

    yield {"boxes": boxes, "loss": loss, "network": network, "original": original, "data": data}
    sys.path.remove(FOLDER)
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def detector(example):
    keras.utils.set_random_seed(0)
    return disturbed(example["network"].build_detector(kyb.v8("n", input_shape=(64, 64, 3)), 3))


def test_outputs_are_those_of_the_paper(detector):
    assert {name: tensor.shape[1:] for name, tensor in detector.output.items()} == {
        "P3_boxes": (8, 8, 64),
        "P3_scores": (8, 8, 3),
        "P4_boxes": (4, 4, 64),
        "P4_scores": (4, 4, 3),
        "P5_boxes": (2, 2, 64),
        "P5_scores": (2, 2, 3),
    }
    head = [
        layer.kernel.shape for layer in detector.layers if layer.name in ("head.P4.boxes.0.conv", "head.P4.scores.2")
    ]
    assert head == [(3, 3, 128, 64), (1, 1, 64, 3)]


def test_distances_become_corners(example, detector):
    decode = example["boxes"].Decoder(detector)
    assert decode.centres.shape == (64 + 16 + 4, 2)
    np.testing.assert_array_equal(decode.centres[[0, 9, 64, 83]], [[4, 4], [12, 12], [8, 8], [48, 48]])
    outputs = {name: np.zeros((1, *tensor.shape[1:]), np.float32) for name, tensor in detector.output.items()}
    for side, (low, high) in enumerate(((2, 2), (1, 2), (3, 3), (0, 1))):  # two bins alike: halfway between them
        outputs["P4_boxes"][0, 1, 2, [16 * side + low, 16 * side + high]] = 50
    outputs["P4_scores"][0, 1, 2, 1] = np.log(3)
    boxes, scores = (np.asarray(x)[0] for x in decode(outputs))
    cell = 64 + 4 + 2
    np.testing.assert_allclose(boxes[cell], [40 - 32, 24 - 24, 40 + 48, 24 + 8], atol=1e-3)
    np.testing.assert_allclose(scores[cell], [0.5, 0.75, 0.5], atol=1e-6)


def test_suppression_keeps_the_best_of_each_object_and_class(example):
    boxes = np.float32([[0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 30, 30], [0, 0, 10, 10]])
    scores = np.float32([[0.6, 0.0], [0.9, 0.0], [0.1, 0.3], [0.0, 0.5]])
    found = example["boxes"].best(boxes, scores, least=0.25, overlap=0.7)
    assert [(label, round(score, 3), box[0]) for label, score, box in found] == [(0, 0.9, 1), (1, 0.5, 0), (1, 0.3, 20)]


def test_cells_inside_that_fit_best_answer_for_an_object(example):
    """Four cells in a row; the object covers the first three, the second predicts it exactly, the third half of it."""
    centres = np.float32([[4, 4], [12, 4], [20, 4], [28, 4]])
    predicted = np.float32([[[0, 0, 6, 8], [0, 0, 24, 8], [0, 0, 12, 8], [0, 0, 24, 8]]])
    scores = np.full((1, 4, 2), 0.25, np.float32)
    objects = np.float32([[[1, 0, 0, 24, 8], [-1, -1, -1, -1, -1]]])
    goal = example["loss"].assign(centres, predicted, scores, objects)
    weight = np.asarray(goal.weight)[0]
    np.testing.assert_allclose(weight, [0.25**6, 1, 0.5**6, 0], atol=1e-5)
    np.testing.assert_allclose(np.asarray(goal.scores)[0][:, 1], weight)
    assert not np.asarray(goal.scores)[0][:, 0].any()
    np.testing.assert_array_equal(np.asarray(goal.boxes)[0, 1], [0, 0, 24, 8])


def test_the_losses_of_known_boxes(example):
    loss = example["loss"]
    a, b = np.float32([0, 0, 4, 4]), np.float32([2, 0, 6, 4])
    assert float(loss.iou(a, b)) == pytest.approx(1 / 3, abs=1e-6)
    assert float(loss.ciou(a, b)) == pytest.approx(1 / 3 - 4 / 52, abs=1e-5)  # same proportions; centres 2 apart
    logits = np.zeros((1, 1, 64), np.float32)
    assert float(loss.distribution_loss(logits, np.float32([[[1.5, 0, 3, 99]]]))[0, 0]) == pytest.approx(np.log(16))
    logits[0, 0, [1, 2, 16, 35, 63]] = 40
    sides = np.float32([[[1.5, 0, 3, 14.99]]])
    assert float(loss.distribution_loss(logits, sides)[0, 0]) == pytest.approx((np.log(2) + 0.4) / 4, abs=0.01)


def test_it_learns_and_becomes_int8_with_labels(example, photographs, tmp_path):
    keras.utils.set_random_seed(0)
    backbone = kyb.v8("n", activation="relu6", input_shape=(64, 64, 3))
    network, loss = example["network"], example["loss"]
    model = loss.Detector(network.build_detector(backbone, 2, activation="relu6"))
    images = np.float32(photographs[:8]) / 255
    objects = np.tile(np.float32([[1, 8, 8, 40, 48], [0, 30, 30, 62, 62], [-1, -1, -1, -1, -1]]), (8, 1, 1))
    kyb.freeze(backbone)
    before = backbone.get_weights()[0].copy()
    model.compile(keras.optimizers.Adam(3e-3))
    losses = model.fit(images, objects, epochs=8, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    np.testing.assert_array_equal(before, backbone.get_weights()[0])
    aware = loss.Detector(kyb.quantize_aware(model, photographs, method="minmax"))
    aware.compile(keras.optimizers.Adam(1e-4))
    assert np.isfinite(aware.fit(images, objects, verbose=0).history["loss"][0])
    artifact = kyb.export_tflite(aware, tmp_path / "detector.tflite")
    assert set(artifact.manifest["outputs"]) == set(model.output)
    assert artifact.manifest["outputs"]["P4_scores"]["stride"] == 16


def original_tensors(example, detector, path):
    """The detector as an original file keeps it: backbone by the package, neck and head put together here."""
    backbone = keras.Model(detector.input, {name: detector.get_layer(layer).output for name, layer in LEVELS.items()})
    kyb.export_weights(backbone, path)
    tensors = load_file(path)
    parts: dict[str, dict[int, np.ndarray]] = {}
    for layer in detector.layers:
        module = next((m for m in example["original"].MODULES if layer.name.startswith(f"{m}.")), None)
        if module is None or not layer.weights:
            continue
        path_in_file = example["original"].MODULES[module] + layer.name[len(module) :]
        start = re.search(r"\.at(\d+)", path_in_file)
        path_in_file = re.sub(r"\.at\d+", "", path_in_file)
        norm = isinstance(layer, keras.layers.BatchNormalization)
        names = ("weight", "bias", "running_mean", "running_var") if norm else ("weight", "bias")
        for name, value in zip(names, layer.get_weights(), strict=False):
            turned = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            parts.setdefault(f"{path_in_file}.{name}", {})[int(start[1]) if start else 0] = turned
    return tensors | {
        key: np.ascontiguousarray(np.concatenate([found[at] for at in sorted(found)])) for key, found in parts.items()
    }


LEVELS = {"P3": "stage3.cv2.act", "P4": "stage4.cv2.act", "P5": "spp.cv2.act"}


def test_the_weights_of_an_original_are_placed(example, detector, photographs, tmp_path):
    tensors = original_tensors(example, detector, tmp_path / "backbone.safetensors")
    assert tensors["model.12.cv1.conv.weight"].shape == (128, 384, 1, 1)
    assert tensors["model.22.cv2.0.0.conv.weight"].shape == (64, 64, 3, 3)
    assert tensors["model.22.cv3.2.2.bias"].shape == (3,)
    assert len({key.split(".")[1] for key in tensors if key.startswith("model.")}) == 10 + 7
    save_file(tensors, tmp_path / "whole.safetensors")
    built, names = example["original"].from_original(tmp_path / "whole.safetensors", image_size=64)
    assert names == ("class 0", "class 1", "class 2")
    images = np.float32(photographs[:2]) / 255
    wanted = run(detector, images)
    for name, found in run(built, images).items():
        np.testing.assert_allclose(found, wanted[name], atol=1e-5 * np.abs(wanted[name]).max())


def test_a_file_without_a_head_is_refused(example, tmp_path):
    kyb.export_weights(kyb.v8("n", input_shape=(64, 64, 3)), tmp_path / "backbone.safetensors")
    with pytest.raises(kyb.CheckpointError, match="is no YOLOv8 detector; this example reads YOLOv8 detectors"):
        example["original"].from_original(tmp_path / "backbone.safetensors", image_size=64)


def test_objects_of_a_folder_in_pixels(example, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    keras.utils.save_img(tmp_path / "images" / "a.png", np.zeros((32, 64, 3)), scale=False)
    (tmp_path / "labels" / "a.txt").write_text("2 0.5 0.5 0.25 0.5\n")
    model = kyb.v8("n", input_shape=(64, 64, 3))
    images, objects = example["data"].Folder(tmp_path, model, most=3)[0]
    assert images.shape == (1, 64, 64, 3)
    np.testing.assert_allclose(objects[0, 0], [2, 24, 24, 40, 40])  # 16 rows of padding above
    assert (objects[0, 1:] == -1).all()
