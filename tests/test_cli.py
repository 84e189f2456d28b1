"""`kyb` as a user meets it: what it prints, what it writes, how it ends."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys

import pytest
import tensorflow as tf
from conftest import ROOT, in_subprocess

from keras_yolo_backbones.catalogue import catalogue, stored_facts
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.commands import info
from keras_yolo_backbones.commands import list as list_command
from keras_yolo_backbones.known_memory import arenas, known_memory
from keras_yolo_backbones.registry import described, variants
from keras_yolo_backbones.version import __version__

NAMES = (
    *("list", "info", "export", "quantize", "identify", "import-weights", "export-weights", "features", "benchmark"),
    *("check", "completion"),
)


def kyb(capfd, *arguments):
    """Exit code, standard output, standard error."""
    code = main(arguments)
    return code, *capfd.readouterr()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photographs):
    folder = tmp_path_factory.mktemp("photographs")
    for index, photograph in enumerate(photographs):
        (folder / f"{index}.png").write_bytes(tf.io.encode_png(photograph).numpy())
    return folder


def test_list(capfd):
    code, out, _ = kyb(capfd, "list", "v8-?")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["model", "v8-n", "v8-s", "v8-m", "v8-l", "v8-x"]
    assert "AGPL-3.0" in out


def test_list_as_json(capfd):
    rows = json.loads(kyb(capfd, "list", "v8-?6", "--json")[1])
    assert [row["model"] for row in rows] == ["v8-n6", "v8-s6", "v8-m6", "v8-l6", "v8-x6"]
    assert rows[1] == {
        "model": "v8-s6",
        "levels": ["P2", "P3", "P4", "P5", "P6"],
        "activations": ["silu"],
        "image_size": rows[1]["image_size"],
        "project": "Ultralytics YOLOv8",
        "licence": "AGPL-3.0",
        "weights_licence": "AGPL-3.0",
        "files": rows[1]["files"],
        "licences": [["AGPL-3.0", "AGPL-3.0"]],
    }


def test_list_in_a_pipe_is_plain_and_whole(capfd):
    lines = kyb(capfd, "list")[1].splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(catalogue())
    starts = {line.index("P2-") for line in lines[1:]}
    assert starts == {lines[0].index("levels")}
    assert not any("…" in line for line in lines)


def test_a_list_for_small_memories_builds_no_network(monkeypatch, capfd):
    """Of those whose arenas are not stored, a bound is known; all stored ones are above their bound."""
    for name in catalogue():
        for side in arenas()["sides"]:
            known = known_memory(name, (side, side), "relu6")
            assert known is None or known["micro_arena"] > list_command._at_least(name, (side, side))
    monkeypatch.setattr(list_command, "_predicted", lambda *_: pytest.fail("built"))
    code, out, _ = kyb(capfd, "list", "--arena-below", "356kB", "--image-size", "192", "--activation", "relu6")
    assert code == 0
    assert {"v8-n", "v9-t", "yolox-nano"} <= {line.split()[0] for line in out.splitlines()}


def test_list_what_fits_a_microcontroller(capfd):
    asked = "list", "v3-tiny", "--activation", "relu6", "--image-size", "64"
    code, out, _ = kyb(capfd, *asked, "--arena-below", "1MB")
    title, row = (line.split() for line in out.splitlines())
    assert (code, title[-2:], row[0], row[-4:]) == (0, ["arena", "weights"], "v3-tiny", ["92.5", "kB", "1.6", "MB"])
    code, _, err = kyb(capfd, *asked, "--arena-below", "64KiB")
    assert (code, err.strip()) == (
        1,
        "none of 1 networks needs less than 65.5 kB at 64×64; a smaller --image-size needs less",
    )
    assert kyb(capfd, *asked)[2].strip() == "kyb: --image-size and --activation go with --arena-below."
    with pytest.raises(SystemExit):
        main([*asked, "--arena-below", "much"])
    assert "'much' is no amount of memory; expected such as 512kB" in capfd.readouterr().err


def test_list_on_a_narrow_terminal_cuts_no_name(monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    words = set(re.sub(r"\x1b\[[0-9;]*m", "", kyb(capfd, "list")[1]).split())
    assert set(catalogue()) <= words


def test_what_is_stored_is_told_without_keras_and_numpy():
    printed = in_subprocess("""
import contextlib, io, sys
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.commands import info
from keras_yolo_backbones.commands import list as list_command
from keras_yolo_backbones.known_memory import arenas, known_memory
import keras_yolo_backbones as kyb
with contextlib.redirect_stdout(io.StringIO()):
    main(["list"])
    main(["list", "v*-n", "--activation", "relu6", "--arena-below", "400kB", "--image-size", "192"])
    main(["info", "v8-s"])
kyb.list_models()
print(sorted({"keras", "tensorflow", "numpy"} & set(sys.modules)))
""")
    assert printed.split() == ["[]"]


@pytest.mark.parametrize("name", ["v8-n", "v3-tiny", "v10-n"])
def test_what_is_stored_of_a_network_is_what_building_it_says(name, capfd):
    arguments = argparse.ArgumentParser()
    info.add(arguments.add_subparsers())
    built = json.loads(json.dumps(info.describe(arguments.parse_args(["info", name]))))
    assert stored_facts()[name] == built
    assert json.loads(kyb(capfd, "info", name, "--json")[1]) == built


def test_facts_of_every_network_are_stored():
    assert list(stored_facts()) == list(catalogue())
    for name, facts in stored_facts().items():
        assert facts["model"] == name
        assert facts["files"] == catalogue()[name]["files"]


def test_the_catalogue_is_what_the_registry_says():
    assert json.loads(json.dumps(described())) == catalogue()
    assert list(catalogue()) == list(variants())


@pytest.mark.parametrize("command", ["", *NAMES])
def test_help_fits_80_columns(monkeypatch, capfd, command):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    lines = capfd.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "examples:" in lines


def test_list_of_nothing(capfd):
    code, _, err = kyb(capfd, "list", "w*")
    assert (code, "no model matches 'w*'" in err) == (1, True)


def test_info(capfd):
    code, out, _ = kyb(capfd, "info", "v8-s")
    assert code == 0
    for fact in ("P5     32      512       20×20", "5,079,712", "6.22 G at 640×640", "AGPL-3.0 (code)", "ultralytics"):
        assert fact in out


def test_info_as_json(capfd):
    facts = json.loads(kyb(capfd, "info", "v8-n", "--levels", "P2,P3", "--image-size", "64x96", "--json")[1])
    first = {"name": "P2", "stride": 4, "channels": 32, "size": [16, 24], "layer": "stage2.cv2.act", "stage": "stage2"}
    assert facts["levels"][0] == first
    assert (facts["epsilon"], facts["activation"]) == (0.001, "silu")


def test_export_in_all_formats(capfd, tmp_path, folder):
    arguments = ["export", "v8-n", "--activation", "relu6", "--image-size", "64", "--precision", "int8"]
    arguments += ["--calibration", str(folder), "--out", str(tmp_path), "--format", "tflite", "saved_model", "onnx"]
    code, out, err = kyb(capfd, *arguments)
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "v8-n-relu6",
        "v8-n-relu6-int8.onnx",
        "v8-n-relu6-int8.onnx.json",
        "v8-n-relu6-int8.tflite",
        "v8-n-relu6-int8.tflite.json",
    ]
    assert "P4 SNR" in out
    assert "The weights are random" in err
    assert "XNNPACK" not in err
    assert "oneDNN" not in err


def test_export_as_json_is_nothing_but_json(capfd, tmp_path):
    _, out, _ = kyb(capfd, "export", "v8-n", "--image-size", "32", "--format", "onnx", "--out", str(tmp_path), "--json")
    assert json.loads(out)[0]["path"] == str(tmp_path / "v8-n.onnx")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("info v8-z", 2, "kyb: unknown model: 'v8-z'"),
        ("export v8-n --format tflyte --out {out}", 2, "kyb: unknown format: 'tflyte'; did you mean 'tflite'?"),
        ("export v8-n --format tflite --activation sillu --out {out}", 2, "did you mean 'silu'?"),
        ("export v8-n --format tflite --levels P6 --out {out}", 2, "v8 has P6 in the sizes n6"),
        ("export v8-n --format tflite --image-size 100 --out {out}", 2, "100 is no multiple of 32"),
        ("export v8-n --format tflite --precision int8 --out {out}", 2, "--precision int8 needs --calibration DIR"),
        ("export v8-n --format tflite --precision int8 --calibration {out}/no --out {out}", 1, "is no folder"),
        ("export v8-n --format onnx --image-size 32 --out {out}/file/x", 1, "Not a directory"),
        ("export v8-n --format onnx --weights {out}/none --out {out}", 2, "there is no such file"),
        ("export v8-n --format onnx --weights {out}/file --out {out}", 1, "the file is empty"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(capfd, tmp_path, arguments, code, message):
    (tmp_path / "file").write_text("")
    result, out, err = kyb(capfd, *arguments.format(out=tmp_path).split())
    assert (result, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_argparse_mistakes(capfd):
    for arguments in (["frobnicate"], [], ["info"], ["info", "v8-n", "--image-size", "big"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "'big' is no size; expected 640 or 480x640" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["", *NAMES])
def test_help_teaches_by_example(capfd, command):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "examples:\n  kyb " in capfd.readouterr().out


def test_help_and_version_load_no_framework():
    code = (
        "import sys\nfrom keras_yolo_backbones.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    print('keras' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["keras_yolo_backbones", __version__, "False", "False"]


def test_trained_weights_are_loaded(capfd, tmp_path, model):
    """The same weights give the same digest, whatever way they came."""
    from keras_yolo_backbones.provenance import weights_digest

    model.save_weights(tmp_path / "own.weights.h5")
    arguments = ["export", "v8-n", "--activation", "relu6", "--image-size", "64", "--format", "onnx", "--json"]
    arguments += ["--weights", str(tmp_path / "own.weights.h5"), "--out", str(tmp_path)]
    code, out, err = kyb(capfd, *arguments)
    assert code == 0
    assert json.loads(out)[0]["sha256"]["weights"] == weights_digest(model)
    assert "random" not in err


def test_a_full_disk_is_one_line_for_every_format(tmp_path):
    """A limit on the size of files stands in for the disk."""
    code = f"""
import resource, signal
import tensorflow
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.commands import info
from keras_yolo_backbones.commands import list as list_command
from keras_yolo_backbones.known_memory import arenas, known_memory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for format in ("tflite", "saved_model", "onnx"):
    print(main(["export", "v8-n", "--image-size", "32", "--format", format, "--out", {str(tmp_path)!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1", "1"]
    messages = [line for line in done.stderr.splitlines() if line.startswith("kyb: ")]
    assert len(messages) == 3
    assert all("cannot write" in message and "File too large" in message for message in messages)
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_backend_that_is_not_installed_is_one_line(tmp_path):
    """A module that hides torch in place of one that is not there."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    environment = os.environ | {"KERAS_BACKEND": "torch", "PYTHONPATH": str(tmp_path)}
    command = [
        sys.executable,
        "-c",
        "from keras_yolo_backbones.cli import main; raise SystemExit(main(['info', 'v8-n', '--image-size', '64']))",
    ]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "KERAS_BACKEND=torch, but torch is not installed." in done.stderr
    assert "Traceback" not in done.stderr
