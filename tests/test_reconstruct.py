"""Reconstruction: rounding that is learned is better than the nearest, and a killed run goes on."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.quantization.kernels import QuantizedConv2D
from keras_yolo_backbones.quantization.part_outputs import Outputs, compiled
from keras_yolo_backbones.quantization.segments import float_calls, segments


@pytest.fixture(scope="module")
def toy():
    """Two units in a row, a residual one between them, whose weights have the room of 15 steps only."""
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(images)
    y = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="inner")(x)
    x = keras.layers.Add(name="add")([x, y])
    model = keras.Model(images, {"P3": keras.layers.Conv2D(8, 3, padding="same", name="last")(x)}, name="toy")
    random = np.random.default_rng(0)
    for name in ("first", "inner", "last"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel = random.normal(0.02, 0.05, kernel.shape)
        kernel[0, 0, 0] = 8.0 * np.abs(kernel).max() * np.sign(random.normal(size=kernel.shape[-1]))
        model.get_layer(name).set_weights([kernel, random.normal(0, 0.1, bias.shape)])
    return model


@pytest.fixture(scope="module")
def plan(toy, photographs):
    return kyb.quantization.plan(toy, photographs[:, :16, :16], method="minmax")


def test_a_network_is_cut_where_one_tensor_goes_through(toy, plan):
    parts = segments(read(kyb.quantize_aware(toy, plan)))
    names = [[node.name for node in part.nodes if isinstance(node.layer, QuantizedConv2D)] for part in parts]
    assert names == [["first"], ["inner"], ["last"]]  # the sum has a part's only output too
    assert all(part.end == following.source for part, following in itertools.pairwise(parts))


def test_no_part_ends_before_an_activation(photographs):
    """The range of what a SiLU is taken of may be cut where nothing is left of it: that is no goal to learn."""
    images = keras.Input((16, 16, 3), name="images")
    x = keras.layers.Conv2D(4, 3, activation="silu", name="first")(images)
    model = keras.Model(images, {"P3": keras.layers.Conv2D(4, 3, name="last")(x)}, name="curved")
    first, last = segments(read(kyb.quantize_aware(model, photographs[:, :16, :16], method="minmax")))
    assert first.end.node.name == "first.silu.quant"
    assert last.source == first.end


def test_a_part_that_harms_the_outputs_is_not_allowed(toy, plan, photographs):
    images = np.float32(photographs[:4, :16, :16]) / 255
    aware = kyb.quantize_aware(toy, plan)
    graph = read(aware)
    calls = float_calls(graph)
    runs, floats = zip(*((compiled(part, {}), compiled(part, calls)) for part in segments(graph)), strict=True)
    outputs = Outputs(runs, floats, images)
    inputs = runs[0](images)[0]
    assert outputs.allow(1, inputs)
    kernel = aware.get_layer("inner").kernel
    kernel.assign(0.5 * kernel)
    assert not outputs.allow(1, inputs)
    kernel.assign(2 * kernel)
    assert outputs.allow(1, inputs)


def test_learned_rounding_is_better_than_the_nearest(toy, plan, photographs, tmp_path):
    crops, held_out = photographs[:, :16, :16], np.float32(photographs[:, 32:48, 32:48]) / 255
    wanted = run(toy, held_out)["P3"]
    nearest = kyb.quantize_aware(toy, plan)
    options = {"steps": 60, "batch_size": 8, "quiet": True, "checkpoints": tmp_path}
    learned = kyb.quantization.reconstruct(toy, plan, crops, **options)
    before, after = (agreement(wanted, run(model, held_out)["P3"]).snr_db for model in (nearest, learned))
    assert after > before + 1
    for name in ("first", "inner", "last"):  # up or down, never further
        kernels = [np.asarray(model.get_layer(name).kernel) for model in (nearest, learned)]
        steps = np.abs(kernels[1]).max((0, 1, 2)) / 127
        assert np.abs((kernels[0] - kernels[1]) / steps).max() < 1.001
        numbers = kernels[1] / steps
        np.testing.assert_allclose(numbers, np.rint(numbers), atol=1e-3)
    again = kyb.quantization.reconstruct(toy, plan, crops, **options)  # all parts are in the checkpoint
    np.testing.assert_array_equal(run(again, held_out)["P3"], run(learned, held_out)["P3"])
    with pytest.raises(kyb.ArgumentError, match="which differs in steps"):
        kyb.quantization.reconstruct(toy, plan, crops, **options | {"steps": 61})
    file = kyb.export_tflite(learned, tmp_path / "toy.tflite")
    assert file.manifest["agreement"]["P3"]["max_error"] < 1e-3
