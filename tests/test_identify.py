"""Recognising checkpoints by their kernels: the table is that of the networks and that of the originals."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
from conftest import DATA
from golden import network_name
from torchfile import write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.catalogue import list_models
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
    fixed, a_filter = list(_lengths(TAILS[name]))[-1]
    assert backbone + fixed + 255 * a_filter == numbers
    assert explained(name, numbers - backbone, complete=True)
    assert explained(name, 0, complete=True)
    assert not explained(name, numbers - backbone + 1, complete=True)
    assert not explained(name, 3, complete=False)


def test_the_main_branch_of_yolov9_e_is_told_from_the_auxiliary_one():
    """The authors' file has the SPPELAN twice, of one shape: 29 is the auxiliary branch's, 36 the main one's."""
    own, authors = (naming.kernels for naming in networks()["v9-e"].namings)
    assert "model.36" not in layout_for(find("v9-e"), own).originals
    layout = layout_for(find("v9-e"), own | authors)
    assert layout.original("spp.cv1.conv") == "model.36.cv1.conv"
    assert "model.29" not in layout.originals
