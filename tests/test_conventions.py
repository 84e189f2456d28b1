"""Weights of originals that take other images: what the loaded model takes, and all that is made of it knows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from golden import DATA, load, relative_error
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.preprocessing import BGR_PIXELS, RGB, RGB_PIXELS, Preprocessing

MEAN = Preprocessing("BGR", 255.0, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))


@pytest.fixture(scope="module")
def nano():
    return load(DATA / "golden" / "yolox_nano.npz")


@pytest.fixture(scope="module")
def file(nano, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "yolox_nano.safetensors"
    save_file(nano.tensors, path)
    return path


def built(nano, **options):
    return kyb.yolox("nano", input_shape=nano.images.shape[1:], levels=tuple(nano.levels), **options)


def farthest(model, images, levels):
    found = model(np.float32(images), training=False)
    return max(relative_error(np.asarray(found[level]), wanted) for level, wanted in levels.items())


def same(a, b):
    return {key: tensor.tobytes() for key, tensor in a.items()} == {key: tensor.tobytes() for key, tensor in b.items()}


def test_rgb_in_0_to_1_whatever_the_original_takes(nano, file, tmp_path):
    """The golden images are what the original's network got; in RGB and [0, 1] they are reversed and divided."""
    model = built(nano)
    kyb.load_weights(model, file)
    found = kyb.get_provenance(model)
    assert (found.preprocessing, found.original) == (RGB, BGR_PIXELS)
    assert image_input(model).preprocessing == RGB
    assert farthest(model, nano.images[..., ::-1] / 255, nano.levels) < 2e-5
    kyb.export_weights(model, tmp_path / "back.safetensors")
    assert same(load_file(tmp_path / "back.safetensors"), nano.tensors)
    again = built(nano)  # what was written takes what the original takes, and says so
    kyb.load_weights(again, tmp_path / "back.safetensors")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))


def test_the_originals_own_convention(nano, file, tmp_path):
    model = built(nano)
    kyb.load_weights(model, file, normalize=False)
    assert farthest(model, nano.images, nano.levels) < 2e-5
    for made in (model, kyb.fuse(model)):
        assert image_input(made).preprocessing == BGR_PIXELS
    kyb.export_weights(model, tmp_path / "back.safetensors")
    assert same(load_file(tmp_path / "back.safetensors"), nano.tensors)
    kyb.load_weights(model, file)
    assert image_input(model).preprocessing == RGB


def test_it_goes_through_keras_own_formats(nano, file, tmp_path):
    for normalize, taken, images in ((True, RGB, nano.images[..., ::-1] / 255), (False, BGR_PIXELS, nano.images)):
        model = built(nano)
        kyb.load_weights(model, file, normalize=normalize)
        kyb.save_weights(model, tmp_path / "a.weights.h5")
        model.save(tmp_path / "a.keras")
        fresh = built(nano)
        kyb.load_weights(fresh, tmp_path / "a.weights.h5")
        for copy in (fresh, kyb.load_model(tmp_path / "a.keras")):
            assert image_input(copy).preprocessing == taken
            assert farthest(copy, images, nano.levels) < 2e-5
            kyb.export_weights(copy, tmp_path / "back.safetensors")
            assert same(load_file(tmp_path / "back.safetensors"), nano.tensors)


def test_files_that_take_something_else_than_the_published_ones(nano, file, tmp_path):
    """Trained by somebody in RGB: nothing is folded, and nothing is when they are written back and read again."""
    model = built(nano)
    kyb.load_weights(model, file, preprocessing=RGB)
    assert farthest(model, nano.images, nano.levels) < 2e-5
    kyb.export_weights(model, tmp_path / "mine.safetensors")
    assert same(load_file(tmp_path / "mine.safetensors"), nano.tensors)
    with safe_open(tmp_path / "mine.safetensors", framework="numpy") as written:
        assert json.loads(written.metadata()["provenance"])["original"]["color"] == "RGB"
    kyb.load_weights(model, tmp_path / "mine.safetensors")
    assert farthest(model, nano.images, nano.levels) < 2e-5
    kyb.load_weights(model, file, preprocessing=RGB_PIXELS, normalize=False)
    assert image_input(model).preprocessing == RGB_PIXELS


def test_a_model_that_never_saw_a_file_is_written_for_its_original(nano, tmp_path):
    model = built(nano)
    kyb.export_weights(model, tmp_path / "new.safetensors")
    again = built(nano)
    kyb.load_weights(again, tmp_path / "new.safetensors")
    images = np.random.default_rng(0).random((1, *nano.images.shape[1:]), np.float32)
    levels = {level: np.asarray(value) for level, value in model(images).items()}
    assert farthest(again, images, levels) < 2e-5


def test_mean_and_deviation(nano, file, tmp_path, monkeypatch):
    release = dataclasses.replace(kyb.yolox.release(None), preprocessing=MEAN)
    monkeypatch.setitem(kyb.yolox.releases, "", release)
    images = np.random.default_rng(0).integers(0, 256, (1, *nano.images.shape[1:])).astype(np.uint8)
    kept = built(nano)
    kyb.load_weights(kept, file, normalize=False)
    assert farthest(kept, nano.images, nano.levels) < 2e-5
    wanted = {level: np.asarray(value) for level, value in kept(MEAN.apply(images), training=False).items()}
    model = built(nano)
    kyb.load_weights(model, file)
    assert farthest(model, images / 255, wanted) < 5e-5
    for name, made, taken in (("a", model, images / 255), ("b", kept, MEAN.apply(images))):
        made.save(tmp_path / f"{name}.keras")
        assert farthest(kyb.load_model(tmp_path / f"{name}.keras"), taken, wanted) < 5e-5
        kyb.save_weights(made, tmp_path / f"{name}.weights.h5")
        fresh = built(nano)
        kyb.load_weights(fresh, tmp_path / f"{name}.weights.h5")
        assert farthest(fresh, taken, wanted) < 5e-5
        assert image_input(fresh).preprocessing == image_input(made).preprocessing
        kyb.export_weights(fresh, tmp_path / "back.safetensors")
        assert same(load_file(tmp_path / "back.safetensors"), nano.tensors)


def test_what_cannot_be_is_refused_before_anything_changes(nano, file):
    model = built(nano, include_rescaling=True)
    before = model.get_weights()
    with pytest.raises(kyb.ArgumentError, match=r"divides pixels by 255, the original takes BGR in \[0, 255\]"):
        kyb.load_weights(model, file, normalize=False)
    with pytest.raises(kyb.ArgumentError, match="has no layer 'normalization' for the mean and the deviation of BGR"):
        kyb.load_weights(model, file, preprocessing=MEAN)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    kyb.load_weights(model, file)
    assert image_input(model).preprocessing == RGB_PIXELS
    assert farthest(model, nano.images[..., ::-1], nano.levels) < 2e-5
