"""Photographs to what a model takes, and from its cells back to pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.preprocessing import BGR_PIXELS, RGB
from keras_yolo_backbones.provenance import Provenance, set_provenance


def taking(model, preprocessing):
    """`model` as if loaded weights took that."""
    facts = dict.fromkeys(("file", "sha256", "format", "network", "project", "licence"), "")
    set_provenance(model, Provenance(**facts, preprocessing=preprocessing))
    return model


def test_files_and_arrays_become_what_the_model_takes(tmp_path, model, photographs):
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(photographs[0][:32]).numpy())
    ready = kyb.preprocess([tmp_path / "a.png", photographs[1]], model)
    assert (ready.images.shape, ready.images.dtype) == ((2, 64, 64, 3), np.float32)
    np.testing.assert_allclose(ready.images[1], photographs[1] / 255, atol=1e-7)
    np.testing.assert_allclose(ready.images[0, 0], 114 / 255, rtol=1e-6)
    assert (ready.frames[0].top, ready.frames[0].size) == (16, (32, 64))
    for one in (photographs[1], photographs[1:2], [photographs[1]]):
        np.testing.assert_array_equal(kyb.preprocess(one, model).images, ready.images[1:])
    assert kyb.preprocess([], model).images.shape == (0, 64, 64, 3)


def test_every_convention(photographs):
    build = {"input_shape": (64, 64, 3), "levels": ("P3",)}
    pixels = kyb.preprocess(photographs[0], kyb.v8("n", include_rescaling=True, **build)).images
    np.testing.assert_array_equal(pixels[0], photographs[0])
    bgr = taking(kyb.v8("n", **build), BGR_PIXELS)
    np.testing.assert_array_equal(kyb.preprocess(photographs[0], bgr).images[0], photographs[0][..., ::-1])
    assert image_input(kyb.fuse(bgr)).preprocessing == BGR_PIXELS
    coloured = taking(kyb.v8("n", **build), dataclasses.replace(RGB, padding=(255, 0, 0)))
    assert kyb.preprocess(photographs[0][:32], coloured).images[0, 0, 0].tolist() == [1, 0, 0]
    grey = kyb.v8("n", input_shape=(64, 64, 1), levels=("P3",))
    assert image_input(grey).preprocessing.describe()["color"] == "grey"
    wanted = photographs[0] @ np.float32([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(kyb.preprocess(photographs[0], grey).images[0, ..., 0], wanted, atol=0.51 / 255)
    many = kyb.v8("n", input_shape=(64, 64, 4), levels=("P3",))
    assert image_input(many).preprocessing.describe()["color"] is None


def test_open_sizes_are_multiples_of_the_stride(photographs):
    model = kyb.v8("n", input_shape=(None, None, 3))
    assert kyb.preprocess(photographs[0], model, image_size=(32, 96)).images.shape == (1, 32, 96, 3)
    with pytest.raises(
        kyb.ArgumentError, match=r"image_size \(100, 100\): 100 is no multiple of 32, .*; use 96 or 128"
    ):
        kyb.preprocess(photographs[0], model, image_size=100)
    with pytest.raises(kyb.ArgumentError, match="leaves its image size open"):
        kyb.preprocess(photographs[0], model)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((64, 64, 3), np.float32), "an image of float32: pass pixels 0…255 as uint8"),
        (np.zeros((64, 64), np.uint8), r"an image is a uint8 array \(height, width, channels\)"),
        (np.zeros((64, 64, 4), np.uint8), "an image of 4 channels is nothing for a network of 3"),
        (7, "images are files or uint8 arrays, one or a list of them, not int"),
    ],
)
def test_what_is_no_image(model, images, message):
    with pytest.raises(kyb.ArgumentError, match=message):
        kyb.preprocess(images, model)


def test_cells_lie_where_their_level_says(model):
    cells = kyb.grid(model)
    assert {name: (level.centres.shape, level.stride) for name, level in cells.items()} == {
        "P3": ((8, 8, 2), 8),
        "P4": ((4, 4, 2), 16),
        "P5": ((2, 2, 2), 32),
    }
    assert cells["P3"].centres[0, 7].tolist() == [60, 4]
    assert cells["P5"].centres[1, 0].tolist() == [16, 48]
    open_size = kyb.v8("n", input_shape=(None, None, 3), levels=("P4",))
    assert kyb.grid(open_size, image_size=(32, 64))["P4"].centres.shape == (2, 4, 2)
