"""Plans: the right ranges, the right groups, plain data."""

from __future__ import annotations

import dataclasses
import json
from functools import partial

import keras
import numpy as np
import pytest
from quantized import settled, small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.ir import Value
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import watching
from keras_yolo_backbones.quantization.lower import lower
from keras_yolo_backbones.quantization.observe import kernel_limits, least_squares, percentile
from keras_yolo_backbones.quantization.plan_file import FORMAT
from keras_yolo_backbones.quantization.ranges import Plan


@pytest.fixture(scope="module")
def v8(photographs):
    return small("v8-n", "silu", photographs)


@pytest.fixture(scope="module")
def plan(v8, photographs):
    return kyb.quantization.plan(v8, photographs, method="minmax")


def test_everything_that_meets_in_a_concat_shares_one_range(plan):
    groups = {}
    for tensor, group in plan.tensors.items():
        groups.setdefault(group, set()).add(tensor)
    assert groups["stage2.cv1.at16.act"] == {
        *("stage2.cv1.at16.act", "stage2.cv1.at0.act", "stage2.m.0.add", "stage2.cat")
    }
    assert groups["spp.cv1.act"] == {"spp.cv1.act", "spp.pool0", "spp.pool1", "spp.pool2", "spp.cat"}
    assert groups["stem.act"] == {"stem.act", "down2.pad"}
    assert groups["images"] == {"images", "stem.pad"}


def test_ranges_are_those_of_the_images(plan, v8, photographs):
    primitive = lower(v8)
    graph = read(primitive)
    nodes = {node.name: node for node in graph.nodes}
    names = ["stage3.m.0.cv1.conv", "stage2.cv1.at16.act", "stage2.cv1.at0.act", "stage2.m.0.add"]
    watched = watching(graph, [Value(nodes[name], 0) for name in names])
    conv, *concat = (np.asarray(tensor) for tensor in watched(np.float32(photographs) / 255))
    assert plan.range("stage3.m.0.cv1.conv") == pytest.approx((conv.min(), conv.max()), rel=1e-5)
    lowest, highest = min(t.min() for t in concat), max(t.max() for t in concat)
    assert plan.range("stage2.m.0.add") == pytest.approx((lowest, highest), rel=1e-5)
    assert plan.range("images") == (0.0, 1.0)
    assert plan.range("stem.act.sigmoid") == (0.0, 255 / 256)
    assert plan.scale("images") == pytest.approx(1 / 255)


def test_kernel_ranges_are_those_of_the_folded_kernels(plan, v8):
    fused = kyb.fuse(v8)
    kernel = fused.get_layer("stage4.m.1.cv2.conv").get_weights()[0]
    np.testing.assert_allclose(plan.kernels["stage4.m.1.cv2.conv"], np.abs(kernel).max((0, 1, 2)), rtol=1e-6)
    assert len(plan.kernels) == sum(isinstance(layer, keras.layers.Conv2D) for layer in fused.layers)


def test_a_plan_is_plain_data(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert loaded.compare(plan) == {}
    other = Plan.load(tmp_path / "plan.json")
    other.ranges["stem.act"] = (-1.0, 1.0)
    before = plan.range("stem.act")
    assert plan.compare(other) == {"stem.act": (before, (-1.0, 1.0)), "down2.pad": (before, (-1.0, 1.0))}
    assert "stage2.cv1.at16.act  (shared by 4)" in str(plan)
    assert "minmax over 16 images" in str(plan)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "other"}', '{"model": "x"}'])
def test_what_is_no_plan_is_refused(content, tmp_path):
    file = tmp_path / "plan.json"
    file.write_text(content)
    with pytest.raises(kyb.CalibrationError, match="is no quantization plan"):
        Plan.load(file)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("ranges", {"a": [float("nan"), 1]}, r"ranges\['a'\] holds nan"),
        ("ranges", {"a": [float("-inf"), 1]}, "holds -inf"),
        ("ranges", {"a": [-1e308, 1e308]}, r"holds -1e\+308"),
        ("ranges", {"a": [1, -1]}, r"ranges\['a'\] is reversed: 1 … -1"),
        ("ranges", {"a": [0, 0]}, r"ranges\['a'\] has no width"),
        ("ranges", {"a": [0.5, 1]}, r"ranges\['a'\] does not contain 0"),
        ("ranges", {"a": [0, 1, 2]}, "has 3 numbers"),
        ("ranges", {"a": None}, "is None, expected a list"),
        ("ranges", {"a": ["0", 1]}, "holds '0', expected a number"),
        ("ranges", {"a": [0, 10**400]}, "holds"),
        ("ranges", None, "ranges is None"),
        ("ranges", {"a": [0, 1], "b": [0, 1]}, r"ranges\['b'\] is of no tensor"),
        ("tensors", {"t": "b"}, r"tensors\['t'\] is of the group 'b', which has no range"),
        ("tensors", {"t": None}, "of the group None"),
        ("tensors", {"t": ["a"]}, "which has no range"),
        ("kernels", {"k": [1, -1e-3]}, r"kernels\['k'\] holds -0.001"),
        ("kernels", {"k": [float("nan")]}, "holds nan"),
        ("kernels", [], r"kernels is \[\]"),
        ("biases", {"k": [float("inf")]}, "holds inf"),
        ("images", -1, "images is a count"),
        ("model", None, "model and method are texts"),
        ("extra", 1, "it has 'extra'"),
    ],
)
def test_a_plan_of_a_stranger_is_refused_by_what_is_wrong(tmp_path, field, value, said):
    file = tmp_path / "plan.json"
    good = {"model": "m", "method": "minmax", "images": 1, "tensors": {"t": "a"}, "ranges": {"a": [0, 1]}}
    content = {"format": FORMAT, **good, "kernels": {"k": [1.0]}, "biases": {}}
    file.write_text(json.dumps(content))
    assert Plan.load(file).ranges == {"a": (0.0, 1.0)}
    file.write_text(json.dumps(content | {field: value}))
    with pytest.raises(kyb.CalibrationError, match=f"is no quantization plan: .*{said}"):
        Plan.load(file)


NO_JSON = [DEEP, '{"format": ' + DEEP, "\xff\xfe", "null", "1e999", '{"ranges": ' + "9" * 5000]


@pytest.mark.parametrize("content", NO_JSON, ids=range(6))
def test_json_that_is_no_plan(tmp_path, content):
    file = tmp_path / "plan.json"
    file.write_text(content, encoding="latin-1")
    with pytest.raises(kyb.CalibrationError, match="is no quantization plan"):
        Plan.load(file)
    for missing in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(kyb.CalibrationError):
            Plan.load(missing)


def test_a_plan_file_for_another_model_is_refused(plan, v8, tmp_path):
    dataclasses.replace(plan, model="v8-s").save(tmp_path / "plan.json")
    for use in (kyb.quantize_aware, partial(kyb.export_tflite, path=tmp_path / "x.tflite", precision="int8")):
        with pytest.raises(kyb.CalibrationError, match="is a plan for 'v8-s', the model is '"):
            use(v8, calibration=str(tmp_path / "plan.json"))


def test_the_other_methods_narrow_ranges(plan, v8, photographs):
    for method in ("percentile", "mse"):
        narrow = kyb.quantization.plan(v8, photographs, method=method)
        assert narrow.method == method
        widths = {}
        for group, (low, high) in narrow.ranges.items():
            full = plan.ranges[group]
            assert full[0] - 1e-4 <= low <= 0 <= high <= full[1] + 1e-4
            widths[group] = (high - low) / (full[1] - full[0])
        assert min(widths.values()) < {"percentile": 0.99, "mse": 0.95}[method]
        assert widths["images"] == widths["stem.act.sigmoid"] == 1
    with pytest.raises(kyb.ArgumentError, match=r"unknown method: 'ms'; did you mean 'mse'\?"):
        kyb.quantization.plan(v8, photographs, method="ms")


def _error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    return float(np.square(values - np.clip(np.rint(values / step) * step, low, high)).sum())


def test_least_squares_beats_the_extremes_where_there_are_outliers():
    random = np.random.default_rng(0)
    values = np.append(random.normal(size=100_000), [20.0, -20.0])
    counts, _ = np.histogram(values, 2048, (-20, 20))
    low, high = least_squares(counts, (-20.0, 20.0))
    best = min(_error(values, -bound, bound) for bound in np.linspace(6, 20, 57))
    assert best < 0.85 * _error(values, -20, 20)
    assert _error(values, low, high) < 1.02 * best
    low, high = percentile(counts, (-20.0, 20.0))
    assert 3.5 < high < 5.5
    assert -5.5 < low < -3.5


def test_least_squares_of_kernels_is_per_channel():
    random = np.random.default_rng(0)
    kernel = random.normal(size=(3, 3, 2000, 2))
    kernel[0, 0, 0, 1] = 30
    assert kernel_limits(kernel, (-1,), least_error=False)[1] == 30
    limits = kernel_limits(kernel, (-1,), least_error=True)
    assert limits[0] > 0.8 * np.abs(kernel[..., 0]).max()
    assert 26 < limits[1] < 28.5


def test_groups_reach_through_a_users_neck(photographs):
    images = keras.Input((64, 64, 3), name="images")
    levels = kyb.v8("n", input_tensor=images, activation="relu6").output
    top = keras.layers.UpSampling2D(2, name="up")(levels["P5"])
    joined = keras.layers.Concatenate(name="joined")([top, levels["P4"]])
    part = joined[..., 128:]
    head = keras.layers.Conv2D(8, 1, activation="sigmoid", name="head")(part)
    flat = keras.layers.Reshape((-1, 8), name="flat")(head)
    model = settled(keras.Model(images, {"scores": flat}), np.float32(photographs) / 255)
    plan = kyb.quantization.plan(model, photographs, method="minmax")
    assert plan.tensors["joined"] == plan.tensors["up"] == plan.tensors["spp.cv2.act"] == plan.tensors["stage4.cv2.act"]
    assert plan.tensors["head"] == "head"
    assert plan.tensors["flat"] == "head.sigmoid"
    assert plan.range("flat") == (0.0, 255 / 256)


def test_an_unknown_layer_is_named(photographs):
    images = keras.Input((64, 64, 3), name="images")
    x = keras.layers.Conv2D(4, 3)(images)
    model = keras.Model(images, keras.layers.LayerNormalization(name="odd.one")(x))
    with pytest.raises(kyb.GraphError, match=r"layer 'odd.one': quantization does not know LayerNormalization"):
        kyb.quantization.plan(model, photographs, method="minmax")
