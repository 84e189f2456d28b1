"""Networks against their originals: the outputs of the smallest of each family and release, batch norms of all."""

from __future__ import annotations

import json
import re
import sys

import golden
import keras
import numpy as np
import pytest
from conftest import ROOT

import keras_yolo_backbones as kyb
from keras_yolo_backbones.catalogue import list_models
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.families import FAMILIES
from keras_yolo_backbones.registry import find

sys.path.insert(0, str(ROOT / "zoo"))

import parity

FILES = sorted(path.stem for path in (golden.DATA / "golden").glob("*.npz"))
SLOW = re.compile(r"v8_[^n].*|v8_n-p6|v10_s|(?!v8_n|12_n).*@large")
"""Golden files that say little more than those of the smallest networks; `make parity` has them too."""

ORIGINALS = json.loads((golden.DATA / "originals.json").read_text())


def load(file: str) -> golden.Golden:
    return golden.load(golden.DATA / "golden" / f"{file}.npz")


@pytest.mark.parametrize(
    "file", [pytest.param(file, marks=[pytest.mark.slow] * bool(SLOW.fullmatch(file))) for file in FILES]
)
def test_outputs_equal_the_original(file):
    measured = load(file)
    model = golden.build(measured, golden.network_name(file), dtype="float64")
    outputs = golden.outputs(measured, model)
    assert list(outputs) == list(measured.levels)
    errors = golden.distances(outputs, measured.levels)
    assert max(errors.values()) <= golden.bound(file), errors
    fused = kyb.fuse(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in fused.layers)
    assert [level[:3] for level in kyb.pyramid(fused)] == [level[:3] for level in kyb.pyramid(model)]
    assert max(golden.distances(golden.outputs(measured, fused), outputs).values()) <= 1e-7
    single = golden.errors(measured, golden.build(measured, golden.network_name(file)))
    assert max(single.values()) <= 5e-5, single


def test_every_family_and_release_is_among_them():
    covered = {(v.family.name, v.release) for v in (find(golden.network_name(file)) for file in FILES)}
    assert covered == {(family.name, release) for family in FAMILIES.values() for release in family.releases}


@pytest.mark.parametrize("name", list_models())
def test_batch_norm_is_the_original_s(name):
    variant = find(name)
    style = variant.family.release(variant.release).style
    assert (style.epsilon, style.momentum) == (ORIGINALS[name]["epsilon"], ORIGINALS[name]["momentum"])


def test_a_tensor_without_a_place_is_an_error():
    measured = load("v3_tiny")
    measured.tensors["11.conv.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(CheckpointError, match=r"v3-tiny: no place for 11\.conv\.weight"):
        golden.build(measured, "v3-tiny")


def test_a_missing_tensor_is_an_error():
    measured = load("v3_tiny")
    del measured.tensors["4.bn.running_var"]
    with pytest.raises(CheckpointError, match=r"4\.bn\.running_var \(for stage2\.bn\.moving_variance\)"):
        golden.build(measured, "v3-tiny")


V4_TINY = {
    "family": "v4",
    "size": "tiny",
    "params": ORIGINALS["v4-tiny"]["parameters"],
    "params_without_top": ORIGINALS["v4-tiny"]["without_context"],
    "macs_640_total": ORIGINALS["v4-tiny"]["macs"],
}


@pytest.mark.parametrize(
    ("macs", "known", "code", "said"),
    [
        (0, ("v3-tiny", "v4-tiny"), 0, "2 of 2 rows pass: outputs of 1, counts of 1"),
        (1, ("v3-tiny", "v4-tiny"), 1, "v4-tiny: macs"),
        (0, ("v3-tiny", "v4-tiny", "v8-n"), 1, "nothing is known to compare with: v8-n"),
    ],
)
def test_the_verdict_of_make_parity(tmp_path, monkeypatch, capsys, macs, known, code, said):
    """Without a golden file the original's numbers are compared; without these it is no success."""
    (tmp_path / "v3_tiny.npz").write_bytes((golden.DATA / "golden" / "v3_tiny.npz").read_bytes())
    row = V4_TINY | {"macs_640_total": V4_TINY["macs_640_total"] + macs}
    (tmp_path / "reference.json").write_text(json.dumps({"rows": [row]}))
    monkeypatch.setattr(parity, "variants", lambda: {name: find(name) for name in known})
    monkeypatch.setattr(sys, "argv", ["parity", str(tmp_path)])
    assert parity.main() == code
    printed = capsys.readouterr().out
    assert said in printed
    assert "counts alone, for there is no golden file: v4-tiny" in printed
