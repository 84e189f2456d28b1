"""Layers that stay float: which they are, how few conversions they cost, and what they bring."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.running import run
from keras_yolo_backbones.litert import LiteModel, operators
from keras_yolo_backbones.quantization.keeping import float_nodes
from keras_yolo_backbones.quantization.lower import lower, tensor_names
from keras_yolo_backbones.quantization.scales import Scales

SPP = ["spp.cat", "spp.cv1.act", "spp.cv1.conv", "spp.cv2.act", "spp.cv2.conv", "spp.pool0", "spp.pool1", "spp.pool2"]


@pytest.fixture(scope="module")
def model(photographs):
    return small("v8-n", "relu6", photographs)


@pytest.fixture(scope="module")
def plan(model, photographs):
    return kyb.quantization.plan(model, photographs, method="minmax")


@pytest.fixture(scope="module")
def full(model, plan, tmp_path_factory):
    """The file without float layers."""
    return kyb.export_tflite(kyb.quantize_aware(model, plan), tmp_path_factory.mktemp("full") / "full.tflite")


def chosen(model, *names):
    graph = read(lower(model))
    labels = tensor_names(graph)
    return sorted(labels[node] for node in float_nodes(graph, Scales(graph, (0.0, 1.0)), names))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["stage2.m.0.add"], ["stage2.m.0.add"]),
        (["spp.cv2.act"], ["spp.cv2.act", "spp.cv2.conv"]),  # one operator with the conv before it
        (["spp.cv2.conv"], ["spp.cv2.act", "spp.cv2.conv"]),
        (["spp.cv1", "spp.cv2"], SPP),  # pools in int8 between float convs would cost three conversions more
        (["spp.c*"], SPP),
        (["stage3.m.?.cv1"], [f"stage3.m.{i}.cv1.{part}" for i in (0, 1) for part in ("act", "conv")]),
        ([], []),
    ],
)
def test_what_is_named_stays_float_and_what_saves_conversions(model, names, expected):
    assert chosen(model, *names) == expected


def test_padding_before_a_float_conv_stays_int8(model):
    """In float it would cost no conversion less, and int8 is the cheaper pad."""
    assert chosen(model, "stem.conv") == ["stem.act", "stem.conv"]


def test_weights_that_two_calls_share_stay_float_in_both():
    images = keras.Input((16, 16, 3), name="images")
    shared = keras.layers.Conv2D(4, 1, name="shared")
    outputs = {"P3": shared(images), "P4": shared(keras.layers.MaxPooling2D(2, name="pool")(images))}
    # The pool goes with them: the images are then made float once, not twice.
    assert chosen(keras.Model(images, outputs), "shared") == ["pool", "shared", "shared.call1"]


def conversions(path):
    kinds = [operator.name for operator in operators(path)]
    return kinds.count("DEQUANTIZE"), kinds.count("QUANTIZE")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["spp.cv1", "spp.cv2"], (1, 1)),
        (["stage4"], (1, 1)),
        (["stage2.m.0.add"], (2, 1)),
        (["stem", "spp.cv2"], (2, 2)),
    ],
)
def test_the_file_has_these_conversions_and_no_other(model, plan, full, photographs, tmp_path, names, expected):
    aware = kyb.quantize_aware(model, plan, keep_float=names)
    kept = kyb.export_tflite(aware, tmp_path / "kept.tflite")
    assert conversions(kept.path) == expected
    counts = {kind: count for kind, count in kept.manifest["operators"].items() if not kind.endswith("QUANTIZE")}
    assert counts == full.manifest["operators"]
    assert list(LiteModel(kept.path).tensors().items()) == list(LiteModel(full.path).tensors().items())
    assert set(kept.manifest["float_layers"]) >= set(chosen(model, *names)) - {"spp.pool0"}
    images = np.float32(photographs) / 255
    goal, found, before = run(model, images), LiteModel(kept.path)(images), LiteModel(full.path)(images)
    for level, features in goal.items():
        assert agreement(features, found[level]).snr_db > agreement(features, before[level]).snr_db - 0.2


def test_a_hurt_layer_is_healed_and_the_report_says_so(model, plan, photographs, tmp_path):
    import dataclasses

    low, high = plan.ranges["down4.act"]
    hurt = dataclasses.replace(plan, ranges={**plan.ranges, "down4.act": (low, high / 8)})
    files = {
        name: kyb.export_tflite(
            kyb.quantize_aware(model, hurt, keep_float=names), tmp_path / f"{name}.tflite", least_snr_db=-20
        ).path
        for name, names in (("full", []), ("kept", ["down4", "stage4.cv1"]))
    }
    full, kept = (kyb.quantization.report(model, files[name], photographs) for name in ("full", "kept"))
    gains = kept.gains(full)
    assert gains["P3"] == pytest.approx(0, abs=0.2)  # above the layer
    assert gains["P4"] > 10
    assert gains["P5"] > 10
    (layer,) = (layer for layer in kept.layers if layer.name == "down4.act")
    assert (layer.dtype, layer.saturation) == ("float32", 0.0)
    assert f"{gains['P4']:+.1f} dB" in kept.bought(full)
    assert "+3 conversions" in kept.bought(full)
    assert "down4.act  float" in kept.table()


def test_post_training_quantization_takes_it_too(model, plan, photographs, tmp_path):
    options = {"precision": "int8", "calibration": photographs, "method": "minmax", "keep_float": ["spp"]}
    ours = kyb.export_tflite(model, tmp_path / "post.tflite", **options)
    aware = kyb.export_tflite(kyb.quantize_aware(model, plan, keep_float=["spp"]), tmp_path / "aware.tflite")
    assert ours.path.read_bytes() == aware.path.read_bytes()
    open_size = kyb.v8("n", activation="relu6", input_shape=(None, None, 3))
    open_size.set_weights(model.get_weights())
    raw = kyb.export_tflite(open_size, tmp_path / "raw.tflite", image_size=64, input_type="uint8", **options)
    assert conversions(raw.path) == (1, 2)


def test_it_trains_saves_and_loads(model, plan, photographs, tmp_path):
    aware = kyb.quantize_aware(model, plan, keep_float=["stage4"])
    images = np.float32(photographs[:4]) / 255
    aware.compile(keras.optimizers.SGD(0.1), loss=dict.fromkeys(aware.output, "mse"))
    kernel = aware.get_layer("stage4.cv2.conv").kernel
    before = kernel.numpy()
    aware.fit(images, {level: value * 0.8 for level, value in run(model, images).items()}, verbose=0)
    assert np.abs(kernel.numpy() - before).max() > 1e-6
    aware.save(tmp_path / "aware.keras")
    loaded = keras.saving.load_model(tmp_path / "aware.keras")
    files = [kyb.export_tflite(one, tmp_path / f"{i}.tflite").path for i, one in enumerate((aware, loaded))]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_mistakes(model, plan, tmp_path):
    with pytest.raises(kyb.ArgumentError, match=r"no layer is called 'stage4\.cv9'.*stage4\.cv"):
        kyb.quantize_aware(model, plan, keep_float=["stage4.cv9"])
    with pytest.raises(kyb.ArgumentError, match=r"expected a list of layer names, such as \['stem'\]"):
        kyb.quantize_aware(model, plan, keep_float="stem")
    with pytest.raises(kyb.ArgumentError, match=r'keep_float goes with engine="keras"'):
        kyb.quantize_aware(model, plan, engine="tfmot", keep_float=["stem"])
    with pytest.raises(kyb.ArgumentError, match=r'keep_float and outputs go with precision="int8"'):
        kyb.export_tflite(model, tmp_path / "x.tflite", keep_float=["stem"])
    with pytest.raises(kyb.ArgumentError, match=r"say keep_float=… to quantize_aware"):
        kyb.export_tflite(kyb.quantize_aware(model, plan), tmp_path / "x.tflite", keep_float=["stem"])
    assert list(tmp_path.iterdir()) == []


def test_the_command_line(tmp_path, photographs, capsys):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for index, photograph in enumerate(photographs[:8]):
        Image.fromarray(photograph).save(tmp_path / "photos" / f"{index}.png")
    arguments = ["v3-tiny", "--activation", "relu6", "--image-size", "64", "--out", str(tmp_path / "out")]
    options = ["--images", str(tmp_path / "photos"), "--epochs", "0", "--keep-float", "stage4", "stage5"]
    assert main(["quantize", *arguments, *options]) == 0
    printed = capsys.readouterr().out
    assert "before tuning, 4 tensors in float bring P3 " in printed
    assert re.search(r"(stage|down)[45]\S*  float$", printed, re.MULTILINE)
