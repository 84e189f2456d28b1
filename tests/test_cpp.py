"""tflite/cpp: the same bytes from LiteRT's C API, with the preprocessing of the manifest, as from Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import ai_edge_litert
import keras
import numpy as np
import pytest
from conftest import ROOT, SIDE

import keras_yolo_backbones as kyb
from keras_yolo_backbones.litert import LiteModel, plain_interpreter, quantize, run_raw

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The program, built with the library of the installed wheel."""
    built = tmp_path_factory.mktemp("cpp") / "run"
    library = Path(ai_edge_litert.__file__).parent
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-o", str(built)]
    linking = [f"-L{library}", "-l:libLiteRt.so", f"-Wl,-rpath,{library}"]
    subprocess.run(["g++", *flags, str(ROOT / "tflite" / "cpp" / "run.cpp"), *linking], check=True, timeout=300)
    return built


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Two levels of few channels."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIDE, SIDE, 3), name="images")
    p3 = keras.layers.Conv2D(8, 3, strides=8, padding="same", activation="relu6")(images)
    return keras.Model(images, {"P3": p3, "P4": keras.layers.Conv2D(4, 3, strides=2, padding="same")(p3)})


def fnv1a(values: np.ndarray) -> str:
    """The 64-bit FNV-1a hash of an array's bytes."""
    found = 14695981039346656037
    for byte in values.tobytes():
        found = (found ^ byte) * 1099511628211 % 2**64
    return f"{found:016x}"


def printed(program: Path, *arguments: Path) -> subprocess.CompletedProcess:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def write_ppm(path: Path, pixels: np.ndarray) -> Path:
    height, width, _ = pixels.shape
    path.write_bytes(f"P6\n{width} {height}\n255\n".encode() + pixels.tobytes())
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int8"},
        {"precision": "int8", "input_type": "uint8"},
        {"precision": "int16x8"},
        {"precision": "float32"},
    ],
    ids=str,
)
def test_the_same_bytes(program, network, photographs, tmp_path, options):
    if options["precision"] != "float32":
        options = options | {"calibration": photographs}
    file = kyb.export_tflite(network, tmp_path / "model.tflite", **options).path
    photograph = write_ppm(tmp_path / "photograph.ppm", photographs[3])
    done = printed(program, file, Path(f"{file}.json"), photograph)
    assert done.returncode == 0, done.stderr
    entry = plain_interpreter(file).get_input_details()[0]
    values = quantize(np.float32(photographs[3:4]) / 255, entry)
    ours = run_raw(plain_interpreter(file), values)
    wanted = {(str(output.nbytes), fnv1a(output)) for output in ours}
    lines = [line.split() for line in done.stdout.splitlines()]
    assert {(size, digest) for _, size, digest in lines} == wanted
    sizes = {name: tensor["dtype"] for name, tensor in LiteModel(file).tensors().items() if name != "images"}
    assert sorted(name for name, _, _ in lines) == sorted(sizes)


def test_mistakes_are_one_line(program, network, photographs, tmp_path):
    file = kyb.export_tflite(network, tmp_path / "model.tflite").path
    other = tmp_path / "other.json"
    other.write_text(Path(f"{file}.json").read_text().replace('"dtype": "float32"', '"dtype": "int8"', 1))
    small = write_ppm(tmp_path / "small.ppm", photographs[0][:32, :48])
    for arguments, reason in (
        ((file, Path(f"{file}.json"), small), "the photograph is 48x32, the network takes 64x64: letterbox it first"),
        ((file, Path(f"{file}.json"), file), "is no binary PPM with 255 levels (P6)"),
        ((file, small, write_ppm(tmp_path / "right.ppm", photographs[0])), "is no manifest: it has no input"),
        (
            (file, other, tmp_path / "right.ppm"),
            'the manifest says "int8", the network\'s input has 49152 bytes: they are of two files',
        ),
        ((file,), "expected: run model.tflite model.tflite.json photo.ppm"),
    ):
        done = printed(program, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1].endswith(reason)
