"""Calibration images: what is taken, and what a bad one is told."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import keras_yolo_backbones as kyb
from keras_yolo_backbones.preprocessing import BGR_PIXELS, RGB_PIXELS
from keras_yolo_backbones.quantization.calibration import calibration_images

SHAPE = (64, 64, 3)


def write_images(folder, photographs, count=8):
    for index, photograph in enumerate(photographs[:count]):
        encode = tf.io.encode_jpeg if index % 2 else tf.io.encode_png
        (folder / f"{index}.{'jpg' if index % 2 else 'png'}").write_bytes(encode(photograph).numpy())
    return folder


def test_pixels_become_floats(photographs):
    samples = calibration_images(photographs, shape=SHAPE)
    assert len(samples) == 16
    assert (samples[0].shape, samples[0].dtype) == ((1, 64, 64, 3), np.float32)
    np.testing.assert_allclose(samples[3][0], photographs[3] / 255, atol=1e-7)
    pixels = calibration_images(photographs, shape=SHAPE, preprocessing=RGB_PIXELS)
    np.testing.assert_array_equal(pixels[3][0], photographs[3])
    assert len(samples[2:5]) == 3


def test_every_kind_of_source_gives_the_same(photographs):
    floats = photographs.astype(np.float32) / 255
    expected = np.concatenate(list(calibration_images(photographs, shape=SHAPE)))
    for source in (
        floats,
        [floats[:9], floats[9:]],
        list(floats),
        (image for image in photographs),
        tf.data.Dataset.from_tensor_slices(floats).batch(4),
        tf.data.Dataset.from_tensor_slices((floats, np.arange(16))).batch(5),
    ):
        samples = calibration_images(source, shape=SHAPE)
        np.testing.assert_allclose(np.concatenate(list(samples)), expected, atol=1e-6)


def test_a_folder_is_searched_and_letterboxed(tmp_path, photographs):
    (tmp_path / "below").mkdir()
    write_images(tmp_path / "below", photographs, 9)
    (tmp_path / "notes.txt").write_text("no image")
    samples = calibration_images(tmp_path, shape=(64, 128, 3))
    assert len(samples) == 9
    np.testing.assert_allclose(samples[0][0, :, 32:96], photographs[0] / 255, atol=1e-6)
    np.testing.assert_allclose(samples[0][0, :, :32], 114 / 255, atol=1e-6)


def test_large_sources_are_sampled_evenly(photographs):
    samples = calibration_images(np.repeat(photographs, 4, 0), shape=SHAPE, most=16)
    assert len(samples) == 16
    np.testing.assert_allclose(samples[15][0], photographs[15] / 255, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:3], "3 calibration images; at least 8 are needed"),
        (lambda x: x.astype(np.float32), r"has values from \d+ to 2\d\d; this model takes \[0, 1\]: divide pixels"),
        (lambda x: x / 127.5 - 1, r"has values from -0\.\d+ to 1; this model takes \[0, 1\]"),
        (lambda x: x.astype(np.int64), "calibration images are int64; expected uint8 pixels or floats"),
        (lambda x: x[:, :32], r"calibration image 0: shape \(32, 64, 3\), the model takes \(64, 64, 3\)"),
        (lambda x: x[..., :1], r"shape \(64, 64, 1\), .*; pass arrays \(images, height, width, channels\)"),
        (lambda x: x.transpose(0, 3, 1, 2), r"channels come last here: pass images\.transpose\(0, 2, 3, 1\)"),
        (lambda x: [x, "a.jpg"], r"calibration image 16 is a name, 'a.jpg'; pass names as one list"),
        (lambda _: ["no.jpg"] * 8, r"no\.jpg is no readable image: .*No such file"),
        (lambda x: np.where(np.arange(16).reshape(-1, 1, 1, 1) == 5, np.nan, x / 255), "calibration image 5 holds NaN"),
        (lambda _: 7, "must be a folder, a list of image files, an array or an iterable of batches, not int"),
        (lambda _: [], "0 calibration images"),
        (lambda _: "no/such/folder", "no/such/folder is no folder"),
    ],
)
def test_bad_images(photographs, change, message):
    with pytest.raises(kyb.CalibrationError, match=message):
        calibration_images(change(photographs), shape=SHAPE)


def test_a_model_that_divides_itself_wants_pixels(photographs):
    with pytest.raises(kyb.CalibrationError, match=r"no value above 0\.\d+; this model takes pixels 0…255"):
        calibration_images(photographs / 255, shape=SHAPE, preprocessing=RGB_PIXELS)


def test_unreadable_files_are_named(tmp_path, photographs):
    write_images(tmp_path, photographs)
    (tmp_path / "broken.jpg").write_bytes(b"no image at all")
    with pytest.raises(kyb.CalibrationError, match=r"broken.jpg is no readable image: .*; remove or replace it."):
        calibration_images(tmp_path, shape=SHAPE)
    (tmp_path / "broken.jpg").write_bytes(b"")
    with pytest.raises(kyb.CalibrationError, match=r"broken.jpg is no readable image"):
        calibration_images(tmp_path, shape=SHAPE)


def test_an_empty_folder(tmp_path):
    with pytest.raises(kyb.CalibrationError, match=r"\.jpg, \.jpeg, \.png, \.bmp.*: 0 calibration images; at least 8"):
        calibration_images(tmp_path, shape=SHAPE)


def test_a_list_of_files_is_as_good_as_their_folder(tmp_path, photographs):
    write_images(tmp_path, photographs)
    files = sorted(tmp_path.iterdir())
    folder, listed = (calibration_images(source, shape=SHAPE) for source in (tmp_path, [str(file) for file in files]))
    assert folder.digest() == listed.digest()


def test_pixels_are_made_what_the_model_takes(photographs):
    samples = calibration_images(photographs, shape=SHAPE, preprocessing=BGR_PIXELS)
    np.testing.assert_array_equal(samples[2][0], photographs[2][..., ::-1])
    grey = calibration_images(photographs[..., :1], shape=(64, 64, 1))
    assert grey[0].shape == (1, 64, 64, 1)


def test_files_are_made_grey_for_one_channel(tmp_path, photographs):
    write_images(tmp_path, photographs)
    (first, *_) = calibration_images(tmp_path, shape=(64, 64, 1))
    wanted = photographs[0] @ np.float32([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(first[0, ..., 0], wanted, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * 0, "all calibration images are black"),
        (lambda x: x / np.float32(255) / 255, "no value above 1/255 of white: were the pixels divided twice"),
    ],
)
def test_a_set_that_can_hardly_be_right_is_warned_of(photographs, change, message):
    with pytest.warns(UserWarning, match=message.replace("no value", "no calibration image has a value")):
        calibration_images(change(photographs), shape=SHAPE)
