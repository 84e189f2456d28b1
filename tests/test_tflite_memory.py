"""Memory: as planned, predicted, allocated, and as `tflite/benchmark.py` reports it."""

from __future__ import annotations

import mmap
import statistics
import sys

import keras
import pytest
from conftest import ROOT
from test_every_family import SMALLEST

import keras_yolo_backbones as kyb
from keras_yolo_backbones.arena import Buffer, arena, extent, memory, most_alive, planned
from keras_yolo_backbones.benchmark import noise
from keras_yolo_backbones.blocks import MatMul
from keras_yolo_backbones.fragile import bare_interpreter
from keras_yolo_backbones.quantization.memory import predicted_memory
from keras_yolo_backbones.targets.micro import installed, micro_report

sys.path.insert(0, str(ROOT / "tflite"))
import benchmark

needs_micro = pytest.mark.skipif(not installed(), reason="tflite-micro has wheels for Linux on x86-64 only")


def pools(side: int, tmp_path):
    """A float file of three max-poolings, each half as large as the one before."""
    images = x = keras.Input((side, side, 3), name="images")
    for _ in range(3):
        x = keras.layers.MaxPooling2D(2)(x)
    return kyb.export_tflite(keras.Model(images, {"P3": x}), tmp_path / f"{side}.tflite").path


def test_the_arena_by_hand(tmp_path):
    # Floats, aligned to 64 bytes: the image 3072 at 0, then 768, then 192; the output's 48 fit where the 768 were.
    assert arena(pools(16, tmp_path)) == 3072 + 768 + 192


@pytest.mark.skipif(benchmark.allocated() is None, reason="no glibc 2.33")
@pytest.mark.parametrize("side", [64, 256])
def test_the_allocator_hands_out_the_arena(side, tmp_path):
    file = pools(side, tmp_path)
    taken = []
    for _ in range(5):  # the allocator counts what other threads of this process take meanwhile, too
        interpreter = bare_interpreter(file)
        before = benchmark.allocated()
        interpreter.allocate_tensors()
        taken.append(benchmark.allocated() - before)
    # Beside the arena it takes 1 or 2 kB for its own lists; a large block may be whole pages, with a page's header.
    assert 0 <= statistics.median(taken) - arena(file) < 4096 + mmap.PAGESIZE


def test_scratch_belongs_to_the_arena_and_persistent_memory_does_not():
    computed, scratch = True, False
    block = [(1000, 1100, computed), (1050, 1500, scratch), (1528, 1700, computed)]
    assert extent([*block, (9000, 9999, scratch), (0, 500, scratch)]) == 700


def test_a_plan_by_hand():
    # 100 bytes take 112. The second of 64 starts where the first ended; the one of 16 fits in the gap above it.
    buffers = [Buffer(100, 0, 2), Buffer(64, 0, 1), Buffer(64, 2, 3), Buffer(16, 1, 2)]
    assert planned(buffers) == 112 + 64 + 16
    assert most_alive(buffers) == 100 + 64 + 16
    assert planned([]) == most_alive([]) == 0


def test_of_buffers_of_one_size_the_last_is_placed_first():
    # The fourth at 0; the third and the second at 16, at different times; the first at 0. From the front it takes 48.
    assert planned([Buffer(16, 1, 2), Buffer(16, 1, 3), Buffer(16, 4, 6), Buffer(16, 3, 4)]) == 32


def test_the_memory_of_a_file(tmp_path):
    file = pools(16, tmp_path)
    assert memory(file) == {
        "activations": 3072 + 768,
        "arena": 3072 + 768,
        "litert_arena": 3072 + 768 + 192,
        "weights": 0,
    }


@needs_micro
def test_int8_memory_is_known_before_the_export(model, photographs, tmp_path):
    artifact = kyb.export_tflite(
        model, tmp_path / "v8.tflite", precision="int8", calibration=photographs, method="minmax"
    )
    need, found = predicted_memory(model), artifact.manifest["memory"]
    assert {key: need[key] for key in ("activations", "arena")} == {key: found[key] for key in ("activations", "arena")}
    assert need["weights"] == pytest.approx(found["weights"], rel=0.02)
    micro = micro_report(artifact.path, operators=50).facts
    assert found["arena"] == micro["arena_head_bytes"]
    assert need["micro_arena"] == pytest.approx(micro["arena_total_bytes"], rel=0.01)


def twisted() -> keras.Model:
    """Branches that are called in another order than their names have, pads that are one, a product turned round."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6", name="stem")(images)
    branches = []
    for name in ("late", "early"):
        y = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}.pad")(x)
        y = keras.layers.Conv2D(8, 3, strides=2, activation="silu", name=name)(y)
        branches.append(keras.layers.Conv2D(4, 1, name=f"{name}.half")(y))
    y = keras.layers.Concatenate(name="cat")(branches)
    cells = keras.layers.Reshape((64, 8), name="cells")(y)
    scores = MatMul(name="scores", transpose=True)([cells, cells])
    values = MatMul(name="values")([keras.layers.Softmax(name="softmax")(scores), cells])
    z = keras.layers.Reshape((8, 8, 8), name="map")(values)
    return keras.Model(images, {"P3": keras.layers.Add(name="add")([y, z])}, name="twisted")


@needs_micro
def test_the_arena_follows_the_order_of_the_converter(photographs, tmp_path):
    model = twisted()
    options = {"precision": "int8", "calibration": photographs[:, :32, :32], "method": "minmax", "least_snr_db": 0}
    artifact = kyb.export_tflite(model, tmp_path / "model.tflite", **options)
    need, found = predicted_memory(model), memory(artifact.path)
    micro = micro_report(artifact.path, operators=0).facts
    assert need["arena"] == found["arena"] == micro["arena_head_bytes"]
    assert need["activations"] == found["activations"]
    assert 0 <= micro["arena_total_bytes"] - need["micro_arena"] < 1200  # what it needs for itself


@needs_micro
@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu6", None])
@pytest.mark.parametrize("name", SMALLEST)
def test_the_arena_is_known_within_2_percent(name, activation, tmp_path):
    model = kyb.create(name, activation=activation, input_shape=(192, 192, 3))
    options = {"precision": "int8", "calibration": noise(model), "method": "minmax", "least_snr_db": -50}
    artifact = kyb.export_tflite(model, tmp_path / "model.tflite", **options)
    micro = micro_report(artifact.path, operators=0).facts
    need = predicted_memory(model)
    assert need["arena"] == micro["arena_head_bytes"]
    assert need["micro_arena"] == pytest.approx(micro["arena_total_bytes"], rel=0.02)


@pytest.mark.skipif(benchmark.allocated() is None, reason="no glibc 2.33")
def test_the_heap_holds_the_weights_again(tmp_path):
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(512, 3, padding="same")(images)
    x = keras.layers.Conv2D(512, 1)(x)
    file = kyb.export_tflite(keras.Model(images, {"P3": x}), tmp_path / "m.tflite").path
    kernels = 4 * (512 * 512 + 512 * 27)
    activations = 4 * 2 * 8 * 8 * 512
    assert kernels < benchmark.heap(file) < 1.2 * (kernels + activations)
