"""Recognising checkpoints by their kernels: the table is that of the networks and that of the originals."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
from conftest import DATA
from golden import network_name
from safetensors.numpy import load_file, save_file
from torchfile import write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.catalogue import list_models
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.registry import find
from keras_yolo_backbones.weights.layouts import layout_for, measured
from keras_yolo_backbones.weights.recognition.darknet_files import TAILS, _lengths, explained, shapes_of
from keras_yolo_backbones.weights.recognition.identify import of_state_dict
from keras_yolo_backbones.weights.recognition.networks import networks

GOLDEN = sorted({path.stem.partition("@")[0]: path for path in (DATA / "golden").glob("*.npz")}.items())
AMBIGUOUS = {"v11": "v26", "v26": "v11", "v3-torch-tiny": "v3-u-tiny", "v3-u-tiny": "v3-torch-tiny"}
AMBIGUOUS |= {"v12-n": "v12-cls-n", "v12-cls-n": "v12-n"}


def test_the_table_has_every_network():
    assert list(networks()) == list_models()


@pytest.mark.parametrize(("stem", "path"), GOLDEN, ids=[stem for stem, _ in GOLDEN])
def test_the_table_is_that_of_the_originals(stem, path):
    name = network_name(stem)
    with np.load(path) as file:
        entries = json.loads(file["meta"].tobytes())["entries"]
    shapes = {key: tuple(shape) for key, shape in entries}
    own = layout_for(find(name), shapes)
    kernels = {key: shape for key, shape in shapes.items() if len(shape) == 4 and own.holds(key)}
    assert kernels in [naming.kernels for naming in networks()[name].namings]
    names, complete = of_state_dict(shapes)
    assert complete
    family, _, size = name.partition("-")
    twin = AMBIGUOUS.get(name) or (f"{AMBIGUOUS[family]}-{size}" if family in AMBIGUOUS else "")
    assert set(names) == {name, twin} & set(networks())


@pytest.mark.parametrize("name", ["v8-n", "v5-5.0-s", "yolox-nano"])
def test_the_table_is_that_of_the_networks(name):
    assert measured(name) == dataclasses.replace(networks()[name], scaling=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_the_whole_table_is_that_of_the_networks(name):
    assert measured(name) == dataclasses.replace(networks()[name], scaling=None)


def test_every_network_is_told_from_every_other():
    for name in networks():
        names, complete = of_state_dict(networks()[name].kernels)
        assert complete
        assert all(networks()[other].kernels == networks()[name].kernels for other in names)
        assert name in names


def test_identifying_takes_no_building(tmp_path):
    shapes = networks()["v8-x"].kernels
    path = write_state_dict(tmp_path / "a.pt", {key: np.zeros(shape, np.float16) for key, shape in shapes.items()})
    assert kyb.identify(path).name == "v8-x"
    start = time.perf_counter()
    identity = kyb.identify(path)
    assert time.perf_counter() - start < 5
    assert (identity.family, identity.size, identity.release) == ("v8", "x", "detect")


def test_the_detectors_of_equal_backbones_tell_them_apart():
    shapes = dict(networks()["v26-s"].kernels)
    assert of_state_dict(shapes)[0] == ("v11-s", "v26-s")
    assert of_state_dict(shapes | {"model.23.one2one_cv2.0.0.conv.weight": (1, 1, 3, 3)})[0] == ("v26-s",)
    assert of_state_dict(shapes | {"model.23.cv2.0.0.conv.weight": (1, 1, 3, 3)})[0] == ("v11-s",)


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ({}, ("v12-n", "v12-cls-n")),
        ({"model.21.cv2.0.0.conv.weight": np.ones((1, 1, 3, 3))}, ("v12-n",)),
        ({"model.9.conv.conv.weight": np.ones((1, 1, 1, 1)), "model.9.linear.weight": np.ones((1, 1))}, ("v12-cls-n",)),
    ],
)
def test_the_heads_of_equal_backbones_tell_classifiers_from_detectors(tmp_path, head, names):
    """Their epsilons are different, and no state dict says them."""
    kernels = {key: np.zeros(shape, np.float16) for key, shape in networks()["v12-n"].kernels.items()}
    identity = kyb.identify(write_state_dict(tmp_path / "a.pt", kernels | head))
    assert identity.names == names
    assert identity.trained.epsilon == {"v12-n": 1e-3, "v12-cls-n": 1e-5}[names[0]]


def test_what_no_network_has_is_refused(tmp_path):
    path = write_state_dict(tmp_path / "a.pt", {"fc.weight": np.zeros((4, 4), np.float32)})
    with pytest.raises(kyb.CheckpointError, match="its 1 tensors are those of no network of the zoo"):
        kyb.identify(path)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("v3-base", 62001757),
        ("v3-spp", 63052381),
        ("v3-tiny", 8858734),
        ("v4-base", 64429405),
        ("v4-tiny", 6062814),
        ("v4-csp", 52986205),
    ],
)
def test_the_length_of_the_published_darknet_files(name, numbers):
    """With 80 classes; parameters and the statistics of the batch norms."""
    backbone = sum(int(np.prod(shape)) for shape in shapes_of(name).values())
    assert numbers in [backbone + fixed + 255 * a_filter for fixed, a_filter in _lengths(TAILS[name])]
    assert explained(name, numbers - backbone, complete=True)
    assert explained(name, 0, complete=True)
    assert not explained(name, numbers - backbone + 1, complete=True)
    assert not explained(name, 3, complete=False)


def test_a_detector_of_v4_tiny_may_have_a_third_head():
    """yolov4-tiny-3l: after the second head a 1×1 conv, a 3×3 conv on its concat with P3, and the head."""
    whole = 6062814 + (256 + 4) * 64 + (192 * 9 + 4) * 128 + (128 + 1) * 255
    rest = whole - sum(int(np.prod(shape)) for shape in shapes_of("v4-tiny").values())
    assert explained("v4-tiny", rest, complete=True)
    assert not explained("v4-tiny", rest - 129, complete=True)  # one head with a filter less than the others


def state_dict(name: str, leave_out: str = "\0") -> dict[str, np.ndarray]:
    kernels = {key: shape for key, shape in networks()[name].kernels.items() if leave_out not in key}
    return {key: np.zeros(shape, np.float16) for key, shape in kernels.items()}


CONTEXTS = [
    ("v6-s", "cspsppf", {}, " without its context block", 'kyb.v6("s", spp=False)'),
    (
        "v6-s",
        "cspsppf",
        {"backbone.ERBlock_5.2.sppf.cv1.block.conv.weight": np.ones((256, 512, 1, 1), np.float16)},
        " with a different context block (backbone.ERBlock_5.2.sppf, as Gold-YOLO has), which is left out",
        'kyb.v6("s", spp=False)',
    ),
    ("v5-n", "model.9.", {}, " without its context block", 'kyb.v5("n", spp=False)'),
    ("v6-s", "ERBlock_4.1.block.2", {}, ", of which a part is missing", 'kyb.v6("s")'),
    ("yolox-tiny", "dark5.1", {}, ", of which a part is missing", 'kyb.yolox("tiny")'),  # inside the last stage
    ("v10-n", "model.9.", {}, ", of which a part is missing", 'kyb.v10("n")'),  # attention is on top of it
]


@pytest.mark.parametrize(("name", "without", "more", "said", "call"), CONTEXTS)
def test_what_is_missing_is_said(tmp_path, capsys, name, without, more, said, call):
    path = write_state_dict(tmp_path / "a.pt", state_dict(name, without) | more)
    assert main(["identify", str(path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["network"], facts["build"]) == (name + said, call)


def test_stages_without_their_context_block_are_built_and_loaded(tmp_path):
    """As Gold-YOLO's: what the file has instead is counted among what is ignored."""
    source = kyb.v6("n", input_shape=(64, 64, 3))
    kyb.export_weights(source, tmp_path / "v6.safetensors")
    tensors = {key: value for key, value in load_file(tmp_path / "v6.safetensors").items() if "cspsppf" not in key}
    foreign = "backbone.ERBlock_5.2.sppf.cv1.block.conv.weight"
    save_file(tensors | {foreign: np.ones((128, 256, 1, 1), np.float32)}, tmp_path / "gold.safetensors")
    model = kyb.from_checkpoint(tmp_path / "gold.safetensors", input_shape=(64, 64, 3))
    assert kyb.load_weights(model, tmp_path / "gold.safetensors").ignored == (foreign,)
    image = np.random.default_rng(0).random((1, 64, 64, 3)).astype(np.float32)
    found, wanted = model(image), source(image)
    for level in ("P3", "P4"):
        np.testing.assert_array_equal(found[level], wanted[level])
    assert found["P5"].shape == (1, 2, 2, 256)
    with pytest.raises(kyb.CheckpointError, match="does not fit v6-n exactly"):
        kyb.load_weights(source, tmp_path / "gold.safetensors")


def test_the_main_branch_of_yolov9_e_is_told_from_the_auxiliary_one():
    """The authors' file has the SPPELAN twice, of one shape: 29 is the auxiliary branch's, 36 the main one's."""
    own, authors = (naming.kernels for naming in networks()["v9-e"].namings)
    assert "model.36" not in layout_for(find("v9-e"), own).originals
    layout = layout_for(find("v9-e"), own | authors)
    assert layout.original("spp.cv1.conv") == "model.36.cv1.conv"
    assert "model.29" not in layout.originals
