"""The whole detector of examples/detector: its boxes, its loss, and the weights of originals."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import disturbed
from safetensors.numpy import load_file, save_file

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.graph.running import run

MODULES = (
    "begun",
    "boxes",
    "data",
    "detect",
    "digits",
    "evaluate",
    "labels",
    "loss",
    "network",
    "original",
    "rates",
    "table",
    "train",
)


@pytest.fixture(scope="module")
def example(from_example):
    return {name: from_example(name) for name in MODULES}


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
    model.optimizer.build(model.trainable_variables)  # otherwise TensorFlow traces the step twice
    losses = model.fit(images, objects, epochs=8, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]
    np.testing.assert_array_equal(before, backbone.get_weights()[0])
    aware = loss.Detector(kyb.quantize_aware(model, photographs, method="minmax"))
    aware.compile(keras.optimizers.SGD(1e-4))
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
    save_file(folded(tensors), tmp_path / "folded.safetensors")
    deployed, _ = example["original"].from_original(tmp_path / "folded.safetensors", image_size=64)
    images = np.float32(photographs[:2]) / 255
    wanted = run(detector, images)
    for model, tolerance in ((built, 1e-5), (deployed, 5e-5)):
        for name, found in run(model, images).items():
            np.testing.assert_allclose(found, wanted[name], atol=tolerance * np.abs(wanted[name]).max())


def folded(tensors):
    """The same network without batch norms, as originals write it to ONNX files."""
    left = {key: value for key, value in tensors.items() if ".bn." not in key}
    for norm in [key.removesuffix(".weight") for key in tensors if key.endswith(".bn.weight")]:
        conv = f"{norm.removesuffix('.bn')}.conv"
        factor = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + 1e-3)
        left[f"{conv}.weight"] = tensors[f"{conv}.weight"] * factor[:, None, None, None]
        left[f"{conv}.bias"] = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * factor
    return left


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("model.18.cv2.bn.bias"), "has no tensor 'model.18.cv2.bn.bias'; this example"),
        (
            lambda tensors: tensors.update({"model.22.cv3.1.2.weight": np.zeros((4, 64, 1, 1), np.float32)}),
            r"has \[\(1, 1, 64, 4\), \(3,\)\] for head.P4.scores.2, where \[\(1, 1, 64, 3\), \(3,\)\] is expected",
        ),
    ],
)
def test_a_strange_head_is_named(example, detector, tmp_path, change, message):
    tensors = original_tensors(example, detector, tmp_path / "backbone.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "strange.safetensors")
    with pytest.raises(kyb.CheckpointError, match=message):
        example["original"].from_original(tmp_path / "strange.safetensors", image_size=64)


def test_a_file_without_a_head_is_refused(example, tmp_path):
    kyb.export_weights(kyb.v8("n", input_shape=(64, 64, 3)), tmp_path / "backbone.safetensors")
    with pytest.raises(kyb.CheckpointError, match="is no YOLOv8 detector; this example reads YOLOv8 detectors"):
        example["original"].from_original(tmp_path / "backbone.safetensors", image_size=64)


def test_the_command_line_says_in_one_line_what_is_wrong(example, tmp_path, monkeypatch):
    (tmp_path / "broken.pt").write_bytes(b"PK no checkpoint")
    for name in ("missing.pt", "broken.pt"):
        monkeypatch.setattr(sys, "argv", ["detect.py", str(tmp_path / name), "photo.jpg"])
        with pytest.raises(SystemExit, match=rf"^\S*{name}: [^\n]+$"):
            example["detect"].main()


def test_boxes_are_drawn_into_a_folder_that_is_made(example, tmp_path):
    keras.utils.save_img(tmp_path / "photo.png", np.zeros((64, 96, 3)), scale=False)
    found = [example["boxes"].Detection(1, 0.9, (10.0, 30.0, 60.0, 50.0))]
    example["detect"].draw(tmp_path / "photo.png", found, ("cat", "cup"), tmp_path / "new" / "found.png")
    pixels = np.asarray(keras.utils.load_img(tmp_path / "new" / "found.png"))
    assert pixels[50, 30].any()
    assert pixels[20, 12].any()  # the name is above the frame, where there is room
    assert not pixels[55:].any()
    assert not pixels[:14].any()
    found = [found[0]._replace(box=(80.0, 3.0, 95.0, 50.0))]
    example["detect"].draw(tmp_path / "photo.png", found, ("cat", "cup"), tmp_path / "corner.png")
    pixels = np.asarray(keras.utils.load_img(tmp_path / "corner.png"))
    assert pixels[10, 50].any()  # inside of it where there is none, and never beyond the picture's edge
    assert not pixels[52:].any()


@pytest.fixture
def yolo_folder(tmp_path):
    """Two images of 64x32 pixels, one of which shows an object of class 1."""
    folder = tmp_path / "yolo"
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for name in "ab":
        keras.utils.save_img(folder / "images" / f"{name}.png", np.zeros((32, 64, 3)), scale=False)
    (folder / "labels" / "a.txt").write_text("1 0.5 0.5 0.25 0.5\n\n")
    return folder


def coco(folder, **changes):
    """The same as a COCO file, with ids that are no labels, a crowd and a box without an area."""
    annotation = {"image_id": 70, "category_id": 90, "bbox": [24, 8, 16, 16], "iscrowd": 0}
    content = {
        "images": [
            {"id": n, "file_name": f"{name}.png", "width": 64, "height": 32} for n, name in ((70, "a"), (3, "b"))
        ],
        "categories": [{"id": 90, "name": "cup"}, {"id": 17, "name": "cat"}],
        "annotations": [annotation, annotation | {"iscrowd": 1}, annotation | {"bbox": [1, 1, 0, 5]}],
    }
    (folder / "annotations").mkdir(exist_ok=True)
    (folder / "annotations" / "instances.json").write_text(json.dumps(content | changes))


def test_objects_of_a_folder_in_pixels(example, yolo_folder):
    """16 rows of padding are above; COCO's format says the same as YOLO's."""
    model = kyb.v8("n", input_shape=(64, 64, 3))
    for names in ((), ("cat", "cup")):
        labels = example["labels"].read_labels(yolo_folder)
        assert (labels.names, labels.classes) == (names, 2)
        images, objects = example["data"].Batches(labels, model, most=3, shuffle=False)[0]
        assert images.shape == (2, 64, 64, 3)
        np.testing.assert_allclose(objects[0, 0], [1, 24, 24, 40, 40])
        assert (objects[0, 1:] == -1).all()
        assert (objects[1] == -1).all()
        coco(yolo_folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [{"image_id": 5}]}, r"instances.json: not COCO's format of objects: no 5 in it"),
        ({"categories": None}, "not COCO's format of objects: 'NoneType' object is not iterable"),
        ({"images": []}, "not COCO's format of objects: no 70 in it"),
        ({"images": [], "annotations": []}, "no images; expected .jpg"),
        (
            {"images": [{"id": 70, "file_name": "c.png", "width": 64, "height": 32}]},
            "1 of its 1 images are not there, such",
        ),
    ],
)
def test_a_coco_file_that_is_wrong(example, yolo_folder, changes, message):
    coco(yolo_folder, **changes)
    with pytest.raises(SystemExit, match=message):
        example["labels"].read_labels(yolo_folder)


@pytest.mark.parametrize(
    "box", [[float("nan"), 8, 16, 16], [24, 8, float("inf"), 16], [24, 8, -4, 16], [24, 8, 60, 16]]
)
def test_a_box_of_a_coco_file_that_is_wrong(example, yolo_folder, box):
    annotation = {"image_id": 70, "category_id": 90, "bbox": [24, 8, 16, 16]}
    coco(yolo_folder, annotations=[annotation, annotation | {"bbox": box}])
    with pytest.raises(SystemExit, match=r"instances.json, annotations\[1\] of a.png: bbox .*; expected a box inside"):
        example["labels"].read_labels(yolo_folder)


def test_an_image_that_cannot_be_read_is_named(example, yolo_folder):
    """Also out of the thread that reads for `fit`."""
    (yolo_folder / "images" / "b.png").write_bytes(b"no image")
    labels = example["labels"].read_labels(yolo_folder)
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(1)])
    batches = example["data"].Batches(labels, kyb.v8("n", input_shape=(32, 32, 3)), batch=1)
    model.compile(loss=lambda y, x: keras.ops.mean(x) + 0 * keras.ops.mean(y))
    with pytest.raises(ValueError, match=r"b\.png"):
        model.fit(batches, verbose=0)


def test_training_says_in_one_line_which_image_is_broken_and_writes_nothing(example, yolo_folder, monkeypatch):
    for name in ("train", "test"):
        shutil.copytree(yolo_folder, yolo_folder / name)
    (yolo_folder / "test" / "images" / "b.png").write_bytes(b"no image")
    options = ["--width", "0.125", "--image-size", "32", "--out", str(yolo_folder / "out")]
    monkeypatch.setattr(sys, "argv", ["train.py", str(yolo_folder), *options])
    with pytest.raises(SystemExit, match=r"^\S*/test/images/b\.png is no readable image: [^\n]+$"):
        example["train"].main()
    assert not (yolo_folder / "out").exists()


def test_a_part_of_the_network_learns_at_its_own_rate(example):
    """Adam's first step moves each weight by the rate, whatever its gradient is."""
    rates = example["rates"].StageRates
    names = ("stem.conv", "stage1.cv1.conv", "stage2.cv1.conv", "head")
    model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in names)])
    before = [layer.kernel.numpy() for layer in model.layers]
    factors = {"stage*": 0.5, "stage2": 0.25, "stem": 0}
    model.compile(rates(0.01, factors=factors, weight_decay=0.0), lambda y, x: keras.ops.mean(keras.ops.square(x - y)))
    model.fit(np.ones((2, 3)), np.full((2, 3), 9.0), verbose=0)
    steps = [np.abs(layer.kernel.numpy() - kernel) for layer, kernel in zip(model.layers, before, strict=True)]
    for found, wanted in zip(steps, (0.0, 0.005, 0.0025, 0.01), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
    again = rates.from_config(model.optimizer.get_config())
    assert again.factors == factors
    with pytest.raises(ValueError, match=r"called 'stage7'; the nearest is 'stage[12].cv1.conv'"):
        rates(factors={"stage7": 0.5}).build(model.trainable_variables)
    with pytest.raises(ValueError, match="'stem' has -1; expected 0 or more"):
        rates(factors={"stem": -1})


def test_the_table_has_a_row_for_each_backbone_and_measures_none_twice(example, tmp_path, monkeypatch):
    calls = []

    def measure(command, **_):
        options = dict(itertools.pairwise(map(str, command)))
        score = len(calls)
        calls.append(options["--backbone"])
        found = {"backbone": calls[-1], "parameters": 1000, "float": 50.25, "ptq": 40 + score, "qat": 45, "kB": 9.6}
        (Path(options["--out"]) / "measured.json").write_text(json.dumps(found | {"minutes": 0.25}))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", measure)
    options = ["--task", "digits", "--out", str(tmp_path)]
    for names in (("v8-n",), ("v8-n", "v5-n")):
        monkeypatch.setattr(sys, "argv", ["table.py", *options, "--backbones", *names])
        example["table"].main()
    assert calls == ["v8-n", "v5-n"]
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2] == "| v8-n | 1,000 | 50.2 | 40.0 | 45.0 | 10 | 0.2 |"
    assert lines[3] == "| v5-n | 1,000 | 50.2 | 41.0 | 45.0 | 10 | 0.2 |"
    assert lines[-1].endswith("--backbones v8-n v5-n`")
    monkeypatch.setattr(sys, "argv", ["table.py", *options, "--rate", "0.1"])
    with pytest.raises(SystemExit, match=r"v8-n: was begun with other options, options --epochs 0 14 2; pass another"):
        example["table"].main()


def test_a_folder_whose_options_were_refused_takes_others(example, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2))
    for rate in ("--rat=0.1", "--rates=0.1"):
        command = ["table.py", "--task", "digits", "--out", str(tmp_path), "--backbones", "v8-n", rate]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit, match=r"no table: train.py ended with an error on v8-n"):
            example["table"].main()


def test_training_goes_on_only_with_the_options_that_it_was_begun_with(example, tmp_path, monkeypatch):
    for name in ("train", "test"):
        example["digits"].write(tmp_path / name, example["digits"].make_digits(1, seed=0, training=True))
    options = ["--width", "0.125", "--out", str(tmp_path / "out")]
    noted = vars(example["train"].parser().parse_args([str(tmp_path), *options]))
    noted = {name: value for name, value in noted.items() if name != "out"} | {"folder": tmp_path.resolve()}
    changed = noted | {"backbone": "v5-n", "rate": 0.1}
    example["begun"].go_on(tmp_path / "out", "options.json", changed)
    content = (tmp_path / "out" / "options.json").read_bytes()
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path), *options])
    with pytest.raises(SystemExit, match=r"out: was begun with other options, backbone v5-n, rate 0\.1; pass another"):
        example["train"].main()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["options.json"]
    assert (tmp_path / "out" / "options.json").read_bytes() == content
    for damaged in ("{", "7", "[]", '{"folder": "digits"}'):
        (tmp_path / "out" / "options.json").write_text(damaged)
        with pytest.raises(SystemExit, match=r"options\.json is damaged: delete it to go on there, or pass another"):
            example["begun"].go_on(tmp_path / "out", "options.json", noted)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_ends_in_int8_files(example, precision, tmp_path, monkeypatch):
    for name in ("train", "test"):
        example["digits"].write(tmp_path / name, example["digits"].make_digits(12, seed=0, training=True))
    options = ["--width", "0.125", "--epochs", "1", "1", "1", "--precision", precision, "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["train.py", str(tmp_path), *options])
    before = keras.config.dtype_policy()
    try:
        example["train"].main()
    finally:
        keras.config.set_dtype_policy(before)
    measured = json.loads((tmp_path / "out" / "measured.json").read_text())
    assert {"float", "ptq", "qat"} < set(measured)
    for name in ("detector.ptq.int8.tflite", "detector.qat.int8.tflite"):
        manifest = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert manifest["precision"] == "int8"
        assert "CAST" not in manifest["operators"]


def test_folders_that_are_wrong(example, yolo_folder):
    read = example["labels"].read_labels
    for line in ("1 0.5 0.5 0.25", "cat 0.5 0.5 0.25 0.5", "1.5 0 0 0 0", "nan 0 0 0 0", "inf 0 0 0 0"):
        (yolo_folder / "labels" / "b.txt").write_text(f"\n{line}\n")
        with pytest.raises(SystemExit, match=rf"b.txt, line 2: '{re.escape(line)}'; expected 'label x y width height'"):
            read(yolo_folder)
    for box in ("2 0.5 0.25 0.5", "nan 0.5 0.2 0.2", "0.5 0.5 inf 0.2", "0.5 0.5 -0.2 0.2", "0.5 0.1 0.2 0.25"):
        (yolo_folder / "labels" / "b.txt").write_text(f"1 {box}\n")
        with pytest.raises(
            SystemExit, match=rf"b.txt, line 1: '1 {re.escape(box)}'; expected a box inside the image; "
        ):
            read(yolo_folder)
    (yolo_folder / "labels" / "b.txt").write_text("1 0.5 0.5 0 0.2\n0 0.5 0.097 0.2 0.2\n")
    np.testing.assert_allclose(read(yolo_folder).objects[1], [[0, 0.4, 0, 0.6, 0.197]], atol=1e-6)
    with pytest.raises(SystemExit, match="labels: no folder images/ in it; expected images/ with labels/"):
        read(yolo_folder / "labels")
    (yolo_folder / "labels").rename(yolo_folder / "texts")
    with pytest.raises(SystemExit, match=r"neither labels/ \(YOLO\) nor a .json file \(COCO\)"):
        read(yolo_folder)
    for name in ("a.json", "b.json"):
        (yolo_folder / name).write_text("{}")
    with pytest.raises(SystemExit, match=r"2 .json files, a.json, b.json; keep the one"):
        read(yolo_folder)


def test_the_average_precision_of_known_boxes(example, detector, yolo_folder):
    """A detector that says what is there has 100 %; one whose IoU is 2/3 is right at 0.50 … 0.65."""
    labels = example["labels"].read_labels(yolo_folder)
    outputs = {name: np.zeros((2, *tensor.shape[1:]), np.float32) for name, tensor in detector.output.items()}
    for name in outputs:
        outputs[name] -= 9 if name.endswith("scores") else 0
    outputs["P3_scores"][0, 4, 4, 1] = 5  # centre (36, 36)
    for right, wanted in ((((0, 1), (0, 1)), 100.0), (((1, 2), (0, 1)), 40.0)):
        outputs["P3_boxes"][0, 4, 4] = 0
        for side, bins in enumerate(((1, 2), (1, 2), *right)):  # a distance is the mean of two bins, in 8 pixels
            outputs["P3_boxes"][0, 4, 4, [16 * side + bins[0], 16 * side + bins[1]]] += 50
        found = example["evaluate"].mean_average_precision(detector, lambda _: outputs, labels)
        assert found == pytest.approx(wanted, abs=0.01)


@pytest.fixture(scope="module")
def served(example, detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "detector"
    detect = kyb.Detect(smaller(example["boxes"].Decoder(detector)), least=0.02, overlap=0.3, most=20)
    return kyb.export_saved_model(detector, folder, detect=detect, signatures=["serving_default"], batch_sizes=(1, 2))


def smaller(decode):
    """Boxes of a quarter of the size: those of random weights cover the whole image."""

    def boxes_and_scores(outputs):
        boxes, scores = decode(outputs)
        centres = np.tile(decode.centres, 2)
        return centres + (boxes - centres) / 4, scores

    return boxes_and_scores


def test_a_server_returns_boxes_in_the_pixels_of_each_file(example, detector, served, photographs):
    """The same objects as the example finds in Python, whatever the size of the file."""
    import tensorflow as tf

    shown = [photographs[0][:40], np.repeat(photographs[1][:, :30], 3, 0), photographs[2]]
    files = [tf.io.encode_png(image).numpy() for image in shown]
    with ServingSession(served.path) as session:
        found = session.run({"image_bytes": files}, "encoded_detect")
        plain = session.run({"images": np.float32(photographs[2:3]) / 255}, "detect")
        assert session.run({"image_bytes": []}, "encoded_detect")["boxes"].shape == (0, 20, 4)
    for index, image in enumerate(shown):
        prepared = kyb.preprocess(image, detector)
        decode = smaller(example["boxes"].Decoder(detector))
        boxes, scores = decode(detector.predict_on_batch(prepared.images))
        corners = kyb.unletterbox(keras.ops.convert_to_numpy(boxes)[0], prepared.frames[0])
        wanted = example["boxes"].best(corners, np.asarray(scores)[0], least=0.02, overlap=0.3, most=20)
        count = int(found["count"][index])
        assert count == len(wanted) > 5
        np.testing.assert_array_equal(found["classes"][index, :count], [each.label for each in wanted])
        np.testing.assert_allclose(found["scores"][index, :count], [each.score for each in wanted], rtol=1e-3)
        np.testing.assert_allclose(found["boxes"][index, :count], [each.box for each in wanted], atol=0.05)
        assert not found["boxes"][index, count:].any()
    for name, value in plain.items():
        np.testing.assert_allclose(value[0], found[name][2], atol=1e-3)


def test_a_client_gets_the_objects_of_a_file(served, photographs):
    import tensorflow as tf
    from prediction_service import PredictionService, grpc_server

    files = [tf.io.encode_png(image).numpy() for image in photographs[:2]]
    with ServingSession(served.path) as session:
        wanted = session.run({"image_bytes": files}, "encoded_detect")
        with grpc_server(PredictionService(session, "m")) as target, kyb.serving.Client(target, model="m") as client:
            found = client(files, signature="encoded_detect")
            shown = client.signatures()["encoded_detect"]
    assert {name: value.dtype for name, value in found.items()} == {
        "boxes": np.float32,
        "classes": np.int32,
        "count": np.int32,
        "scores": np.float32,
    }
    assert shown["classes"] == ("int32", (None, 20))
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"xla": True}, {"precision": "bfloat16"}, {"precision": "float16"}])
def test_objects_out_of_compiled_and_of_half_precision_servers(example, detector, photographs, tmp_path, options):
    """Boxes of probable objects are those of float32, to two pixels."""
    decode = smaller(example["boxes"].Decoder(detector))
    detect = kyb.Detect(decode, least=0.02, overlap=0.3, most=20)
    artifact = kyb.export_saved_model(detector, tmp_path / "d", detect=detect, batch_sizes=(1,), **options)
    images = np.float32(photographs[:1]) / 255
    with ServingSession(artifact.path) as session:
        found = session.run({"images": images}, "detect")
    boxes, scores = (np.asarray(x)[0] for x in decode(detector.predict_on_batch(images)))
    best = example["boxes"].best(boxes, scores, least=0.02, overlap=0.3, most=20)[0]
    assert found["classes"][0, 0] == best.label
    assert found["scores"][0, 0] == pytest.approx(best.score, rel=0.1)
    np.testing.assert_allclose(found["boxes"][0, 0], np.clip(best.box, 0, 64), atol=2)


def test_the_manifest_and_the_warmup_know_the_objects(served):
    signatures = served.manifest["signatures"]
    assert set(signatures) == {"serving_default", "detect", "encoded_detect"}
    assert signatures["encoded_detect"]["outputs"] == {
        "boxes": {"dtype": "float32", "shape": [None, 20, 4]},
        "classes": {"dtype": "int32", "shape": [None, 20]},
        "count": {"dtype": "int32", "shape": [None]},
        "scores": {"dtype": "float32", "shape": [None, 20]},
    }
    assert served.manifest["warmup"] == {"requests": 6, "batch_sizes": [1, 2]}


def test_what_cannot_detect_is_refused(example, detector, tmp_path):
    decode = example["boxes"].Decoder(detector)
    for options, message in (
        ({"least": 2}, "least 2: expected a number from 0 to 1"),
        ({"most": 0}, "most 0: expected a positive integer"),
        ({"decode": None}, "decode None: expected a function"),
    ):
        with pytest.raises(kyb.ArgumentError, match=message):
            kyb.Detect(**{"decode": decode} | options)
    outputs = {name: np.zeros((1, *tensor.shape[1:]), np.float32) for name, tensor in detector.output.items()}
    for wrong, message in (
        (
            lambda outputs: outputs["P7"],
            r"decode failed on outputs of the shapes .*P4_scores \(1, 4, 4, 3\).*: 'P7'\); ",
        ),
        (lambda outputs: outputs, "decode returned dict; expected the pair"),
        (lambda outputs: decode(outputs)[::-1], r"\(1, 84, 3\) and \(1, 84, 4\); expected"),
        (lambda outputs: (decode(outputs)[0][:, :9], decode(outputs)[1]), "9 boxes and 84 rows"),
    ):
        with pytest.raises(kyb.ArgumentError, match=message):
            kyb.Detect(wrong).decoded(outputs)
    with pytest.raises(kyb.ArgumentError, match=r"detect is a Decoder; expected kyb.Detect\(decode\)"):
        kyb.export_saved_model(detector, tmp_path / "detector", detect=decode)
    assert not list(tmp_path.iterdir())
