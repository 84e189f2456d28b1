"""`method="auto"`: ranges by the error at the outputs, and biases against the shift of means."""

from __future__ import annotations

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from quantized import small
from sklearn.datasets import load_sample_images

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.quantization.apply import planned
from keras_yolo_backbones.quantization.biases import correct_kernels, mean_shifts
from keras_yolo_backbones.quantization.calibration import calibration_images
from keras_yolo_backbones.quantization.choosing import Member, least_error
from keras_yolo_backbones.quantization.guard import better, contrast
from keras_yolo_backbones.quantization.lower import lower
from keras_yolo_backbones.quantization.observe import ends_of, extremes, kernel_limits
from keras_yolo_backbones.quantization.weighing import BINS, Weighed, binned, watch


def ratio(model, plan, images):
    """SNR of the fake-quantized model in dB."""
    (features,), (found,) = (run(m, images).values() for m in (model, kyb.quantize_aware(model, plan)))
    return agreement(features, found).snr_db


@pytest.fixture(scope="module")
def tailed():
    """A SiLU whose input reaches from -200 to 6: most of that is where its output is all but 0."""
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(3, 1, name="conv")(images)
    x = keras.layers.Activation("silu", name="act")(x)
    model = keras.Model(images, {"P3": keras.layers.Conv2D(4, 1, use_bias=False, name="out")(x)})
    model.get_layer("conv").set_weights([206 * np.eye(3)[None, None], np.full(3, -200.0)])
    model.get_layer("out").set_weights([np.random.default_rng(0).normal(size=(1, 1, 3, 4))])
    return model


def test_a_range_is_cut_where_the_activation_makes_nothing_of_it(tailed):
    images, held_out = np.random.default_rng(0).random((2, 16, 16, 16, 3), np.float32)
    plans = {method: kyb.quantization.plan(tailed, images, method=method) for method in ("auto", "minmax", "mse")}
    assert plans["minmax"].range("conv") == pytest.approx((-200, 6), abs=0.2)
    low, high = plans["auto"].range("conv")
    assert -15 < low < -3
    assert high > 3
    best = ratio(tailed, plans["auto"], held_out)
    assert best > ratio(tailed, plans["minmax"], held_out) + 4
    assert best > ratio(tailed, plans["mse"], held_out) + 2


def test_silu_of_values_far_out_does_not_overflow(tailed):
    graph = read(lower(tailed))
    conv = next(node for node in graph.nodes if node.layer.name == "conv")
    (watched,) = watch(graph, {conv: "conv"}, [conv])
    with np.errstate(over="raise", invalid="raise"):
        found = watched.function(np.array([-1e4, -2.0, 0.0, 1e4]))
    assert found == pytest.approx([0, -0.2384058, 0, 1e4])


def test_values_that_nothing_uses_do_not_count(photographs):
    """Of the concat's two halves, the output uses the narrow one only."""
    images = keras.Input((16, 16, 3), name="images")
    wide, narrow = (keras.layers.Conv2D(3, 1, use_bias=False, name=name)(images) for name in ("wide", "narrow"))
    out = keras.layers.Conv2D(2, 1, use_bias=False, name="out")(keras.layers.Concatenate(name="cat")([wide, narrow]))
    model = keras.Model(images, {"P3": out})
    model.get_layer("wide").set_weights([20 * np.eye(3)[None, None]])
    model.get_layer("narrow").set_weights([np.eye(3)[None, None]])
    model.get_layer("out").set_weights([np.concatenate([np.zeros((3, 2)), np.ones((3, 2))])[None, None]])
    plan = kyb.quantization.plan(model, photographs[:, :16, :16], method="auto")
    widest = kyb.quantization.plan(model, photographs[:, :16, :16], method="minmax").range("cat")[1]
    assert widest > 15
    assert plan.range("cat")[1] < 2


def test_what_is_spread_evenly_keeps_its_range():
    even = Member(lambda x: x, np.ones(BINS), np.ones((1, BINS)))
    assert least_error([even], (-1.0, 3.0)) == pytest.approx((-1, 3), rel=0.02)
    low, high = least_error([even], (-4.0, 3.97), symmetric=True)
    assert low == pytest.approx(-high * 128 / 127)
    assert high == pytest.approx(3.97, rel=0.02)


def test_clipping_counts_as_much_as_its_errors_add_up():
    """Values far out count alone where the signs of their slopes cancel, and as a sum where they do not."""
    squares, slopes = np.zeros(BINS), np.zeros((1, BINS))
    squares[: BINS // 10], squares[-1] = 1.0, 1e-4
    # By hand: 205 h² / (255² · 12) + 1e-4 (10 - h)² / 2 is least at h = 1.6.
    assert least_error([Member(lambda x: x, squares, slopes)], (0.0, 10.0))[1] == pytest.approx(1.6, abs=0.1)
    slopes[0, -1] = 1.0
    assert least_error([Member(lambda x: x, squares, slopes)], (0.0, 10.0))[1] > 9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_values_far_out_are_not_cut_by_chance(seed):
    """Two convolutions on 32 small images: ranges that cut their few extremes cost 5 to 10 dB."""
    shown = load_sample_images().images
    places = itertools.product(range(0, 320, 80), repeat=2)
    pixels = np.stack([image[y : y + 64 : 4, x : x + 64 : 4] for y, x in places for image in shown])
    keras.utils.set_random_seed(seed)
    images = keras.Input((16, 16, 3), name="images")
    conv = keras.layers.Conv2D(4, 3, activation="relu", bias_initializer="ones", name="conv")
    model = keras.Model(images, {"P3": keras.layers.Dense(2, name="out")(conv(images))})
    auto, widest = (kyb.quantization.plan(model, pixels, method=method) for method in ("auto", "minmax"))
    values = np.float32(pixels) / 255
    assert ratio(model, auto, values) > ratio(model, widest, values) - 1.5


@pytest.mark.parametrize("low", [0.0, -1.0])
def test_each_value_counts_in_its_bin(low):
    random = np.random.default_rng(0)
    values, slopes = random.uniform(low, 3.0, (5, 40, 100)).astype(np.float32), random.standard_normal((5, 40, 100))
    values.flat[:2] = low, 3.0  # the ends are inside
    found = binned(tf.constant(values), tf.constant(slopes, tf.float32), ends_of(tf.constant(values))).numpy()
    place = (values.astype(np.float64) - low) / (3.0 - low) * BINS
    far_from_edges = np.abs(place - np.rint(place)) > 1e-3
    assert far_from_edges.mean() > 0.99
    wanted = [
        np.bincount(np.minimum(place.astype(int), BINS - 1).ravel(), w.ravel(), BINS) for w in (slopes**2, slopes)
    ]
    assert np.abs(found.sum(1) - np.sum(wanted, 1)).max() < 1e-2
    assert np.mean(np.abs(found - wanted) > 1e-4) < 0.02


def test_histograms_of_images_are_counted_over_the_range_of_all():
    """One image reaches to 1, one to 4: over the whole range, values of the first lie in the first quarter."""
    images = keras.Input((16, 16, 3), name="images")
    conv = keras.layers.Conv2D(3, 1, use_bias=False, name="conv")
    model = keras.Model(images, {"P3": conv(images)})
    conv.set_weights([np.eye(3)[None, None]])
    pixels = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    pixels[1:] *= 0.25
    graph = read(lower(model))
    (node,) = (node for node in graph.nodes if node.layer.name == "conv")
    weighed = Weighed(graph, watch(graph, {node: "conv"}, [node]), calibration_images(pixels, shape=(16, 16, 3)))
    assert weighed.seen["conv"] == (0.0, pixels.max())
    squares, slopes = weighed.over(0, (0.0, 1.0))
    assert slopes.shape == (8, BINS)
    # Slopes are in units of the output's power: sixteen times the squares in the seven dark images.
    assert squares[BINS // 4 + 1 :].sum() == pytest.approx(squares.sum() * 0.75 / (1 + 7 * 16), rel=0.1)
    assert np.abs(slopes[1:, BINS // 4 + 1 :]).max() == 0 < np.abs(slopes[0, BINS // 4 + 1 :]).max()


def test_images_that_errors_are_not_weighed_on_still_count_for_ranges():
    pixels = np.arange(40, dtype=np.float32)[:, None, None, None] / 40 * np.ones((16, 16, 3), np.float32)
    weighed, rest = calibration_images(pixels, shape=(16, 16, 3)).split(32)
    assert (len(weighed), len(rest)) == (32, 8)
    known = {"image": (0.0, max(float(image.max()) for image in weighed)), "other": (-2.0, 1.0)}
    found = extremes(lambda batch: [batch, 3 * batch], ["image", "other"], rest, known)
    assert found == {"image": (0.0, pixels.max()), "other": (-2.0, 3 * max(image.max() for image in rest))}


def test_zeros_of_a_relu_do_not_count():
    """They are exact in every range. One image of ones among images that a ReLU makes nothing of."""
    images = keras.Input((16, 16, 3), name="images")
    model = keras.Model(images, {"P3": keras.layers.ReLU(name="relu")(keras.layers.Conv2D(3, 1, name="conv")(images))})
    model.get_layer("conv").set_weights([2 * np.eye(3)[None, None], np.full(3, -1.0)])
    pixels = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    pixels[1:] *= 0.5
    assert kyb.quantization.plan(model, pixels, method="auto").range("relu")[1] > 0.95


def test_dark_images_do_not_narrow_ranges(photographs):
    """Ranges for dark images would clip the light ones; with more contrast, minmax is better, so it is chosen."""
    model = small("v3-tiny", "silu", photographs)
    dark = np.uint8(photographs * 0.15)
    plan, widest = (kyb.quantization.plan(model, dark, method=method) for method in ("auto", "minmax"))
    images = np.float32(photographs) / 255
    wanted = run(model, images)
    found = [run(kyb.quantize_aware(model, p), images) for p in (plan, widest)]
    ratios = [np.mean([agreement(wanted[k], f[k]).snr_db for k in wanted]) for f in found]
    assert ratios[0] >= ratios[1]
    assert contrast(calibration_images(dark, shape=(64, 64, 3)))[1] < 0.15
    assert kyb.quantization.plan(model, photographs).method == "auto"


def test_the_better_plan_is_the_one_with_less_error(biased, photographs):
    crops = np.float32(photographs[:, :16, :16]) / 255
    good = kyb.quantization.plan(biased, crops, method="minmax")
    bad = dataclasses.replace(good, ranges=dict.fromkeys(good.ranges, (0.0, 0.1)))
    samples = calibration_images(crops, shape=(16, 16, 3))
    for plans in ((good, bad), (bad, good)):
        assert better(*plans, lower(biased), samples) is good


def test_kernels_are_clipped_where_their_inputs_are_weak():
    """The largest weight is on a channel that carries nothing: clipping it makes the other steps finer."""
    kernel = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 1, 8, 1)).astype(np.float32)
    kernel[0, 0, 0] = 1.0
    powers = np.array([1e-9, *np.ones(7)])
    assert kernel_limits(kernel, (-1,), least_error=True, powers=powers)[0] < 0.5
    assert kernel_limits(kernel, (-1,), least_error=True)[0] > 0.9


@pytest.fixture(scope="module")
def biased():
    """A convolution whose weights are all rounded down by 0.4 steps, on images that are positive."""
    images = keras.Input((16, 16, 3), name="images")
    model = keras.Model(images, {"P3": keras.layers.Conv2D(2, 3, padding="valid", name="conv")(images)})
    kernel = np.full((3, 3, 3, 2), 0.304)
    kernel[0, 0, 0] = 1.27
    model.get_layer("conv").set_weights([kernel, np.zeros(2)])
    return model


def test_biases_take_out_the_shift_that_rounding_leaves(biased, photographs):
    crops = photographs[:, :16, :16]
    images = np.float32(crops) / 255
    plan = kyb.quantization.plan(biased, images, method="minmax")
    assert plan.biases == {}
    samples = calibration_images(images, shape=(16, 16, 3))
    shifts = mean_shifts(read(lower(biased)), plan, samples)
    windows = (
        np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2)).sum((3, 4, 5)) - images[:, :14, :14, 0]
    )
    np.testing.assert_allclose(shifts["conv"], 0.004 * windows.mean(), rtol=0.03)
    corrected = dataclasses.replace(plan, biases=shifts)
    layer = lower(biased).get_layer("conv")
    np.testing.assert_allclose(planned(corrected, layer)[1], shifts["conv"], rtol=1e-6)
    features = run(biased, images)["P3"].mean()
    before, after = (run(kyb.quantize_aware(biased, p), images)["P3"].mean() for p in (plan, corrected))
    assert abs(after - features) < 0.1 * abs(before - features)


def test_the_shift_of_rounded_kernels_alone_is_taken_out_of_the_biases():
    images = keras.Input((8, 8, 2), name="images")
    model = keras.Model(images, {"P3": keras.layers.Conv2D(1, 1, name="conv")(images)})
    model.get_layer("conv").set_weights([np.array([[[[127.0], [0.4]]]]), np.ones(1)])  # 0.4 of a step: rounded to 0
    samples = calibration_images(np.full((8, 8, 8, 2), 0.5, np.float32), shape=(8, 8, 2))
    kernel, bias = correct_kernels(lower(model), samples).get_layer("conv").get_weights()
    assert kernel.ravel().tolist() == pytest.approx([127, 0.4])
    assert bias == pytest.approx([1.2], abs=1e-4)
    assert model.get_layer("conv").get_weights()[1] == 1


def test_auto_corrects_biases_and_plans_keep_them(biased, photographs, tmp_path):
    plan = kyb.quantization.plan(biased, photographs[:, :16, :16], method="auto")
    assert plan.method == "auto"
    assert set(plan.biases) == {"conv"}
    plan.save(tmp_path / "plan.json")
    assert kyb.quantization.Plan.load(tmp_path / "plan.json") == plan
