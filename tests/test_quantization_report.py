"""Where int8 hurts: the report finds the layer that was hurt; the command line does the whole way."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from quantized import small

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.quantization import report
from keras_yolo_backbones.quantization.frontier import new_figure
from keras_yolo_backbones.quantization.losses import LayerLoss


@pytest.fixture(scope="module")
def model(photographs):
    return small("v3-tiny", "relu6", photographs)


@pytest.fixture(scope="module")
def plan(model, photographs):
    return kyb.quantization.plan(model, photographs, method="minmax")


def test_a_hurt_layer_is_named(model, plan, photographs, tmp_path):
    hurt = next(name for name in list(plan.ranges)[4:] if name.endswith(".act"))
    low, high = plan.ranges[hurt]
    worse = dataclasses.replace(plan, ranges={**plan.ranges, hurt: (low, high / 4)})
    artifact = kyb.export_tflite(kyb.quantize_aware(model, worse), tmp_path / "hurt.tflite")
    found = report(model, artifact.path, photographs)
    assert found.images == 16
    assert found.worst(1)[0].name == hurt
    assert found.worst(1)[0].saturation > 0.01
    lines = str(found).splitlines()
    assert lines[0] == "hurt.tflite against the float model, 16 images"
    assert lines[1].endswith(" dB  P3 (output)")
    assert lines[6].split()[-1] == hurt
    assert len(lines) == 6 + 10
    assert len(found.table().splitlines()) == 5 + len(found.layers)
    good = report(model, kyb.export_tflite(kyb.quantize_aware(model, plan), tmp_path / "x.tflite").path, photographs)
    named = {layer.name: layer for layer in good.layers}
    assert named[hurt].saturation < 0.001
    assert named[hurt].snr_db > found.worst(1)[0].snr_db + 5
    assert len(good.layers) > 10
    assert set(good.levels) == {"P3", "P4", "P5"}
    good.save_plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(json.dumps(good.as_dict()))["worst"][0] == good.worst(1)[0].name


def test_noise_is_what_arises_in_a_layer():
    def loss(before, after):
        found = agreement(np.float32([1.0]), np.float32([1 + 10 ** (-after / 20)]))
        return LayerLoss.of("x", found, before, 0.0, "int8")

    pad = loss(np.inf, 53.0)
    assert (pad.drop_db, pad.added) == (pytest.approx(7.0, abs=1e-3), pytest.approx(4e-6, rel=1e-2))
    assert loss(20.0, 17.0).added == pytest.approx(0.00995, rel=1e-3)
    assert loss(17.0, 20.0).added == 0
    exact = LayerLoss.of("x", agreement(np.ones(2), np.ones(2)), np.inf, 0.0, "int8")
    assert str(exact).split() == ["exact", "0.0", "0.00%", "0.00%", "x"]


def test_a_fake_quantized_model_is_compared_with_its_own_weights(model, plan, photographs, tmp_path):
    """Training with labels changes weights: against the float model of before that looks like noise."""
    aware = kyb.quantize_aware(model, plan)
    for layer in aware.layers:
        if hasattr(layer, "kernel"):
            layer.kernel.assign(layer.kernel * 1.1)
    file = kyb.export_tflite(aware, tmp_path / "trained.tflite").path
    own, former = (report(reference, file, photographs) for reference in (aware, model))
    assert [own.reference, former.reference] == ["trained network", "float model"]
    assert own.levels["P3"].snr_db > former.levels["P3"].snr_db + 5
    assert [layer.name for layer in own.layers] == [layer.name for layer in former.layers]


def test_the_file_of_another_model_is_refused(model, photographs, tmp_path):
    other = small("v8-n", "relu6", photographs)
    file = kyb.export_tflite(
        other, tmp_path / "other.tflite", precision="int8", calibration=photographs, method="minmax"
    )
    with pytest.raises(kyb.ArgumentError, match=r"no tensor that is called like a layer of|is none of"):
        report(model, file.path, photographs)


def test_the_command_goes_all_the_way(model, photographs, tmp_path, capsys):
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for index, photograph in enumerate(photographs[:10]):
        Image.fromarray(photograph).save(tmp_path / "photos" / f"{index}.png")
    model.save_weights(tmp_path / "own.weights.h5")
    arguments = ["v3-tiny", "--activation", "relu6", "--image-size", "64", "--images", str(tmp_path / "photos")]
    options = ["--weights", str(tmp_path / "own.weights.h5"), "--epochs", "1", "--out", str(tmp_path / "out")]
    assert main(["quantize", *arguments, *options]) == 0
    stem = "v3-tiny-relu6-qat"
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *(f"{stem}.tflite", f"{stem}.tflite.json", f"{stem}.plan.json", f"{stem}.report.json", f"{stem}.report.png"),
        f"{stem}.checkpoints",
    }
    told = json.loads((tmp_path / "out" / f"{stem}.report.json").read_text())
    assert told["levels"]["P3"]["snr_db"] > 15
    assert kyb.quantization.Plan.load(tmp_path / "out" / f"{stem}.plan.json").images == 10
    printed = capsys.readouterr().out
    assert "P5 (output)" in printed
    assert f"{stem}.tflite against the float model, 10 images" in printed
    assert "SNR against the fake-quantized model" in printed
    assert "held-out loss" in printed
    assert np.load(tmp_path / "out" / f"{stem}.checkpoints" / "distilling.npz")["arr_0"].dtype == np.uint8


def test_a_plot_without_matplotlib_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(kyb.ArgumentError, match=r"^a plot needs matplotlib: pip install 'matplotlib[^\n]*$"):
        new_figure(8, 4)
