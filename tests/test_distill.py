"""Label-free training: it lowers the loss on images it never saw, survives a kill, and never makes things worse."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from conftest import in_subprocess
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.quantization import distill
from keras_yolo_backbones.quantization.distillation import default_epochs


@pytest.fixture(scope="module")
def teacher(photographs):
    return small("v3-tiny", "relu6", photographs)


@pytest.fixture(scope="module")
def plan(teacher, photographs):
    return kyb.quantization.plan(teacher, photographs, method="minmax")


@pytest.fixture
def student(teacher, plan):
    return kyb.quantize_aware(teacher, plan)


def test_the_student_comes_closer_to_its_teacher(teacher, student, photographs):
    before = run(student, np.float32(photographs) / 255)
    ranges = student.get_layer("images.quant").range.numpy()
    told = distill(teacher, student, photographs, epochs=4, batch_size=4, quiet=True)
    assert len(told.losses) == len(told.held_out) == 5
    assert told.best > 0
    assert told.held_out[told.best] == min(told.held_out) < told.held_out[0]
    assert min(told.losses[1:]) < told.losses[0]
    after = run(student, np.float32(photographs) / 255)
    goal = run(teacher, np.float32(photographs) / 255)
    gained = [agreement(goal[k], after[k]).snr_db - agreement(goal[k], before[k]).snr_db for k in goal]
    assert np.mean(gained) > 0.1
    np.testing.assert_array_equal(student.get_layer("images.quant").range.numpy(), ranges)


def test_training_that_hurts_is_undone_and_stopped(teacher, student, photographs):
    before = student.get_weights()
    told = distill(teacher, student, photographs, epochs=9, learning_rate=0.1, patience=2, quiet=True)
    assert told.best == 0
    assert len(told.held_out) == 3
    for old, new in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_killed_run_continues_to_the_same_numbers(teacher, plan, photographs, tmp_path):
    options = {"epochs": 3, "batch_size": 4, "quiet": True}
    straight = kyb.quantize_aware(teacher, plan)
    whole = distill(teacher, straight, photographs, checkpoints=tmp_path / "whole", **options)
    teacher.save_weights(tmp_path / "teacher.weights.h5")
    np.save(tmp_path / "photographs.npy", photographs)
    plan.save(tmp_path / "plan.json")
    in_subprocess(f"""
import os, numpy as np, keras_yolo_backbones as kyb
from keras_yolo_backbones.quantization import distill, distillation
photographs = np.load({str(tmp_path / "photographs.npy")!r})
teacher = kyb.create("v3-tiny", activation="relu6", input_shape=(64, 64, 3))
teacher.load_weights({str(tmp_path / "teacher.weights.h5")!r})
student = kyb.quantize_aware(teacher, {str(tmp_path / "plan.json")!r})
step = distillation._Run.step
count = []
def deadly(self, batch):
    count.append(1)
    if len(count) == 6:  # in the middle of the second epoch
        os._exit(0)
    return step(self, batch)
distillation._Run.step = deadly
distill(teacher, student, photographs, checkpoints={str(tmp_path / "killed")!r}, epochs=3, batch_size=4, quiet=True)
raise SystemExit("not killed")
""")
    resumed = kyb.quantize_aware(teacher, plan)
    rest = distill(teacher, resumed, photographs, checkpoints=tmp_path / "killed", **options)
    np.testing.assert_allclose(rest.held_out, whole.held_out, rtol=1e-3)
    np.testing.assert_allclose(rest.losses, whole.losses, rtol=1e-3)
    for old, new in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, atol=1e-4)


def test_few_images_are_passed_over_more_often():
    assert [default_epochs(steps) for steps in (1, 10, 25, 400, 5000)] == [60, 40, 16, 10, 10]


def test_what_cannot_be_trained_is_refused(teacher, student, photographs, tmp_path):
    with pytest.raises(kyb.ArgumentError, match="epochs=0: expected a number of at least 1"):
        distill(teacher, student, photographs, epochs=0)
    with pytest.raises(kyb.ArgumentError, match="batch_size=None: expected a number of at least 1"):
        distill(teacher, student, photographs, batch_size=None)
    with pytest.raises(kyb.ArgumentError, match="both must give the same"):
        distill(kyb.v8("n", input_shape=(64, 64, 3), levels=("P3",)), student, photographs)
    (tmp_path / "distilling.npz").write_bytes(b"nothing")
    with pytest.raises(kyb.ArgumentError, match=r"distilling.npz cannot be continued: .*Name another folder"):
        distill(teacher, student, photographs, checkpoints=tmp_path)


def test_the_checkpoint_of_another_run_is_refused(teacher, plan, photographs, tmp_path):
    options = {"epochs": 1, "batch_size": 8, "quiet": True, "checkpoints": tmp_path}
    distill(teacher, kyb.quantize_aware(teacher, plan), photographs, **options)
    again = distill(teacher, kyb.quantize_aware(teacher, plan), photographs, **options)
    assert len(again.losses) == 2
    with pytest.raises(kyb.ArgumentError, match=r"it is of another run, which differs in epochs\. "):
        distill(teacher, kyb.quantize_aware(teacher, plan), photographs, **options | {"epochs": 2})
    with pytest.raises(kyb.ArgumentError, match=r"which differs in images\. "):
        distill(teacher, kyb.quantize_aware(teacher, plan), photographs[::-1], **options)
    clipped = kyb.quantize_aware(teacher, photographs, method="mse")
    with pytest.raises(kyb.ArgumentError, match=r"which differs in the first weights or ranges\. "):
        distill(teacher, clipped, photographs, **options)
    student = kyb.quantize_aware(teacher, plan)
    other = keras.models.clone_model(teacher)  # other weights
    with pytest.raises(kyb.ArgumentError, match=r"which differs in teacher\. "):
        distill(other, student, photographs, **options)


def test_learned_ranges_undo_what_wrong_images_did(teacher, plan, photographs, tmp_path):
    """Ranges of half the width clip; weights alone can make up for some of that, ranges that are learned for most."""
    halved = {name: (low / 2, high / 2) for name, (low, high) in plan.ranges.items() if name != "images"}
    wrong = dataclasses.replace(plan, ranges={**plan.ranges, **halved})
    losses = {}
    for learn in (False, True):
        student = kyb.quantize_aware(teacher, wrong, learn_ranges=learn)
        options = {"epochs": 10, "batch_size": 4, "patience": 10, "learning_rate": 1e-4, "quiet": True}
        losses[learn] = distill(teacher, student, photographs, **options).held_out
    assert losses[True][0] == pytest.approx(losses[False][0], rel=0.02)
    assert min(losses[True]) < 0.6 * min(losses[False])
    file = kyb.export_tflite(student, tmp_path / "student.tflite")
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(file.manifest["operators"])
