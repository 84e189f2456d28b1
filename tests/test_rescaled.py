"""Files of networks with a width, a depth or a channel cap of their own: recognised, built and written back."""

from __future__ import annotations

import json

import golden
import keras
import numpy as np
import pytest
from conftest import disturbed, in_subprocess
from safetensors.numpy import load_file, save_file
from torchfile import real_file

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.weights.recognition.networks import networks
from keras_yolo_backbones.weights.scaling import measured_scaling

ORIGINALS = json.loads((golden.DATA / "originals.json").read_text())


def written(folder, network: str, **options) -> tuple[keras.Model, str]:
    """A network with random weights, and a state dict of it that says nothing of its name."""
    keras.utils.set_random_seed(0)
    model = kyb.create(network, input_shape=(64, 64, 3), **options)
    kyb.export_weights(model, folder / "named.safetensors")
    save_file(load_file(folder / "named.safetensors"), folder / "x.safetensors")
    return model, str(folder / "x.safetensors")


def assert_same_weights(a: keras.Model, b: keras.Model, tolerance: float = 0) -> None:
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=0)


def test_a_real_file_of_another_width(tmp_path, capsys):
    path = real_file(tmp_path / "best.pt", "p_customwidth")
    assert kyb.identify(path).name == "v8-n-w0.375"
    assert main(["identify", str(path)]) == 0
    assert 'kyb.v8("n", width=0.375)' in capsys.readouterr().out
    model = kyb.from_checkpoint(path, input_shape=(64, 64, 3))
    assert [level.channels for level in kyb.pyramid(model)] == [96, 192, 384]
    with pytest.raises(kyb.CheckpointError, match=r'this is v8-n-w0.375, .*; build kyb.v8\("n", width=0.375\)'):
        kyb.load_weights(kyb.v8("n", input_shape=(64, 64, 3)), path)
    assert main(["import-weights", "--auto", str(path), "--out", str(tmp_path / "x.weights.h5")]) == 0
    again = kyb.from_checkpoint(tmp_path / "x.weights.h5", input_shape=(64, 64, 3))
    assert_same_weights(model, again)


def test_identify_knows_it_without_keras(tmp_path):
    path = real_file(tmp_path / "best.pt", "p_customwidth")
    in_subprocess(f"""
import sys
from keras_yolo_backbones.cli import main
assert main(["identify", {str(path)!r}]) == 0
assert not {{"keras", "tensorflow"}} & set(sys.modules)
""")


CASES = [
    ("v8-s", {"width": 0.33, "depth": 0.5}, "v8-n-w0.33-d0.5"),
    ("v6-n", {"width": 0.11, "depth": 0.2}, "v6-n-w0.11-d0.2"),
    ("ppyoloe-s", {"width": 0.3}, "ppyoloe-s-w0.3"),
    ("v11-n", {"width": 0.17, "depth": 1.0}, "v11-n-w0.17-d1.0"),
]
MORE = [
    ("v8-m", {"width": 0.11, "max_channels": 256}, "v8-m-w0.1-c320"),  # the same channels
    ("v8-cls-n", {"width": 0.14}, "v8-cls-n-w0.14"),
    ("v5-n", {"depth": 0.67}, "v5-n-d0.67"),
    ("v6-mbla-s", {"width": 0.13}, "v6-mbla-s-w0.13"),
    ("v10-n", {"width": 0.17}, "v10-n-w0.17"),
    ("v12-n", {"width": 0.125}, "v12-n-w0.125"),
    ("v13-n", {"width": 0.125}, "v13-n-w0.125"),
    ("v26-n", {"width": 0.17}, "v26-n-w0.17"),
    ("rtmdet-tiny", {"width": 0.3, "depth": 0.33}, "rtmdet-s-w0.3"),
    ("yolox-tiny", {"width": 0.3}, "yolox-tiny-w0.3"),
    ("yolox-nano", {"width": 0.19}, "yolox-nano-w0.1875"),
]
CASES += [pytest.param(*case, marks=pytest.mark.slow) for case in MORE]


@pytest.mark.parametrize(("name", "options", "expected"), CASES)
def test_a_state_dict_is_recognised_by_its_shapes(tmp_path, name, options, expected):
    model, path = written(tmp_path, name, **options)
    identity = kyb.identify(path)
    assert identity.complete
    assert expected in identity.names
    again = kyb.create(expected, input_shape=(64, 64, 3))
    kyb.load_weights(again, path)
    assert_same_weights(model, again, 3e-7)  # of YOLOX the file holds kernels for BGR in 0…255
    kyb.load_weights(kyb.create(name, input_shape=(64, 64, 3), **options), path)  # whatever it is called
    kyb.export_weights(again, tmp_path / "back.safetensors")
    back, given = load_file(tmp_path / "back.safetensors"), load_file(path)
    assert back.keys() == given.keys()
    assert all(back[key].tobytes() == given[key].tobytes() for key in given)


def test_published_networks_keep_their_names(tmp_path):
    """v8-n is v8-s of another width; the name that it was published under counts."""
    for name, options in (("v8-s", {"width": 0.25}), ("v5-s", {"width": 0.25})):
        assert kyb.identify(written(tmp_path, name, **options)[1]).name == f"{name[:2]}-n"


def test_a_model_and_a_file_of_keras_without_the_name(tmp_path):
    model = kyb.v8("n", width=0.14, depth=0.67, input_shape=(64, 64, 3), name="backbone")
    kyb.save_weights(model, tmp_path / "x.weights.h5")
    assert kyb.identify(tmp_path / "x.weights.h5").name == "v8-n-w0.14-d0.67"
    again = kyb.from_checkpoint(tmp_path / "x.weights.h5", input_shape=(64, 64, 3))
    assert_same_weights(model, again)
    fused = kyb.fuse(model)
    fused.save_weights(tmp_path / "fused.weights.h5")
    assert kyb.identify(tmp_path / "fused.weights.h5").name == "v8-n-w0.14-d0.67"
    kyb.export_weights(model, tmp_path / "x.safetensors")
    kyb.load_weights(again, tmp_path / "x.safetensors")


def test_channels_in_no_proportion_are_refused(tmp_path):
    _, path = written(tmp_path, "v8-n")
    tensors = load_file(path)
    tensors["model.3.conv.weight"] = np.zeros((104, 32, 3, 3), np.float32)
    save_file(tensors, path)
    with pytest.raises(kyb.CheckpointError, match="those of no network of the zoo"):
        kyb.identify(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v8-n", "v6-n", "v11-n", "ppyoloe-s"])
def test_the_table_says_what_is_measured(name):
    from keras_yolo_backbones.registry import find

    assert measured_scaling(find(name)) == networks()[name].scaling


SAME = [
    *(
        (f"{family}-s", f"{family}-n", {"width": 0.25})
        for family in ("v5", "v6", "v8", "v10", "v11", "v12", "v13", "v26")
    ),
    ("v10-b", "v10-l", {"width": 1.0, "depth": 1.0}),
    ("yolox-s", "yolox-tiny", {"width": 0.375}),
    ("rtmdet-s", "rtmdet-tiny", {"width": 0.375, "depth": 0.167}),
    ("ppyoloe-m", "ppyoloe-s", {"width": 0.5, "depth": 0.33}),
]
"""A network of each scaled family -> a different one -> what makes the one of the other."""


@pytest.mark.parametrize(
    ("name", "smaller", "multiples"),
    [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] not in ("v8-s", "rtmdet-s"))) for case in SAME],
)
def test_info_counts_what_was_measured_on_the_original(capsys, name, smaller, multiples):
    """At 640 pixels, as the originals' numbers are; half the side has a quarter of the multiply-accumulates."""
    flags = [text for key, value in multiples.items() for text in (f"--{key}", str(value))]
    facts = []
    for side in ("640", "320"):
        assert main(["info", name, *flags, "--image-size", side, "--json"]) == 0
        facts.append(json.loads(capsys.readouterr().out))
    whole, half = facts
    original = ORIGINALS[smaller]
    assert (whole["parameters"], whole["macs"]) == (original["parameters"], original["macs"])
    assert half["activation_memory"] == pytest.approx(whole["activation_memory"] / 4, rel=0.3)
    assert 0 < half["int8_memory"]["micro_arena"] < whole["int8_memory"]["micro_arena"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [(name, multiples["width"] / 2) for name, _, multiples in SAME])
def test_any_width_fuses_and_becomes_files(tmp_path, name, width):
    """A width that nobody published, half of the smallest one."""
    model = disturbed(kyb.create(name, width=width, depth=0.2, input_shape=(64, 64, 3), activation="relu6"))
    assert model.name.endswith(f"-w{width:g}-d0.2")
    fused = kyb.fuse(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in fused.layers)
    lite = kyb.export_tflite(model, tmp_path / "m.tflite", precision="float32")
    onnx = kyb.export_onnx(model, tmp_path / "m.onnx")
    for artifact in (lite, onnx):
        assert [entry["channels"] for entry in artifact.manifest["outputs"].values()] == [
            level.channels for level in kyb.pyramid(model)
        ]
        assert min(artifact.manifest["agreement"][level]["snr_db"] for level in model.output) > 60
