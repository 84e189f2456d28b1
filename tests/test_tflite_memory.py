"""The memory that `tflite/benchmark.py` reports."""

from __future__ import annotations

import sys

import keras
import pytest
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.arena import arena, extent
from keras_yolo_backbones.fragile import bare_interpreter

sys.path.insert(0, str(ROOT / "tflite"))
import benchmark


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
    interpreter = bare_interpreter(file)
    before = benchmark.allocated()
    interpreter.allocate_tensors()
    assert 0 <= benchmark.allocated() - before - arena(file) < 2048


def test_scratch_belongs_to_the_arena_and_persistent_memory_does_not():
    computed, scratch = True, False
    block = [(1000, 1100, computed), (1050, 1500, scratch), (1528, 1700, computed)]
    assert extent([*block, (9000, 9999, scratch), (0, 500, scratch)]) == 700


@pytest.mark.skipif(benchmark.allocated() is None, reason="no glibc 2.33")
def test_the_heap_holds_the_weights_again(tmp_path):
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(512, 3, padding="same")(images)
    x = keras.layers.Conv2D(512, 1)(x)
    file = kyb.export_tflite(keras.Model(images, {"P3": x}), tmp_path / "m.tflite").path
    kernels = 4 * (512 * 512 + 512 * 27)
    activations = 4 * 2 * 8 * 8 * 512
    assert kernels < benchmark.heap(file) < 1.2 * (kernels + activations)
