"""tflite/devices.py: resized files, the page, and the numbers that README takes from it."""

from __future__ import annotations

import json
import sys
from datetime import date

import keras
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.arena import memory
from keras_yolo_backbones.known_memory import known_memory
from keras_yolo_backbones.litert import operators, plain_interpreter
from keras_yolo_backbones.targets.vela import compiled

sys.path.insert(0, str(ROOT / "tflite"))
import devices_page
from devices import SMALLEST
from resizing import resized

ROWS = json.loads((ROOT / "tflite" / "devices.json").read_text())


def network(side: int, *, reshape: bool = False) -> keras.Model:
    """What the networks are made of: padding, strides, a pool, a concat, a sum."""
    keras.utils.set_random_seed(0)
    images = keras.Input((side, side, 3), name="images")
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu6", name="stem")(images)
    x = keras.layers.ZeroPadding2D(((1, 0), (1, 0)), name="pad")(x)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu6", name="down")(x)
    y = keras.layers.Add(name="add")([x, keras.layers.DepthwiseConv2D(3, padding="same", name="deep")(x)])
    y = keras.layers.Concatenate(name="cat")([y, keras.layers.MaxPooling2D(5, 1, padding="same", name="pool")(x)])
    if reshape:
        y = keras.layers.Reshape((-1, 4, 8))(y)
    return keras.Model(images, {"P3": y}, name="network")


def test_a_resized_file_is_the_one_that_would_be_exported(photographs, tmp_path):
    plan = kyb.quantization.plan(network(64), photographs, method="minmax")
    small = kyb.export_tflite(network(64), tmp_path / "64.tflite", precision="int8", calibration=plan).path
    large = kyb.export_tflite(network(96), tmp_path / "96.tflite", precision="int8", calibration=plan).path
    again = tmp_path / "resized.tflite"
    again.write_bytes(resized(small, 96))
    assert operators(again) == operators(large) != operators(small)
    assert memory(again) == memory(large)
    plain_interpreter(again).allocate_tensors()
    found, wanted = compiled(again, "ethos-u55-128"), compiled(large, "ethos-u55-128")
    assert found.summary["cycles_total"] == wanted.summary["cycles_total"]
    fixed = kyb.export_tflite(network(64, reshape=True), tmp_path / "reshape.tflite").path
    assert resized(fixed, 96) is None


def test_the_page_is_made_of_the_rows():
    assert (ROOT / "tflite" / "devices.md").read_text() == devices_page.page(ROWS)


def test_the_smallest_network_of_every_family_runs_on_the_npu_whole():
    npus = ("ethos-u55-128", "ethos-u55-256", "ethos-u85-512")
    assert {row["network"] for row in ROWS if any(row[npu]["left"] for npu in npus)} == set()
    assert {row["network"] for row in ROWS if row["side"] == 192} >= set(SMALLEST)
    assert all(date.fromisoformat(row["date"]) and row["tools"]["ethos-u-vela"] for row in ROWS)


def test_tflite_micro_ran_every_network_as_predicted():
    ran = [row for row in ROWS if row["side"] == 192 and row["activation"] == "relu6"]
    assert [row["network"] for row in ran if "error" in row["micro"]] == []
    for row in ran:
        known = known_memory(row["network"], (192, 192), "relu6")
        assert known is None or abs(known["micro_arena"] / row["micro"]["arena_total_bytes"] - 1) < 0.01


def test_the_guide_in_readme_says_what_was_measured():
    ms = {(row["network"], row["activation"]): row["ethos-u55-256"]["ms"] for row in ROWS if row["side"] == 192}
    guide = (ROOT / "README.md").read_text()
    named = {"yolox-nano": "2.1 ms", "v9-t": "2.9", "v5-n": "3.2", "v8-n": "3.7"}
    for network, text in named.items():
        assert f"{ms[network, 'relu6']:.1f}" == text.split()[0]
        family, size = network.split("-")
        assert f'`{family}("{size}")` {text}' in guide
    second = f'`yolox("tiny")` {ms["yolox-tiny", "relu6"]:.1f} and `v9("s")` {ms["v9-s", "relu6"]:.1f}'
    assert second in guide
    large = {row["network"]: row["ethos-u55-256"]["ms"] for row in ROWS if row["side"] == 320}
    assert large["v12-n"] > 4 * large["v10-n"]
    ratios = [
        ms[name, "own"] / ms[name, "relu6"] for name in ("v5-n", "v8-n", "v9-t", "yolox-nano", "damo-ns", "ppyoloe-s")
    ]
    assert (round(min(ratios), 1), round(max(ratios), 1)) == (1.3, 2.2)
    assert "SiLU costs 1.3 to 2.2 times as much" in guide
