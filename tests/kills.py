"""Ends exporters by SIGKILL and looks at what they leave: `python tests/kills.py FOLDER COUNT [EXPORTER …]`.

Every export runs in a fork of this process, which has imported everything and run nothing. A fork counts what it does
with files, by Python's audit hook, and ends itself at one of these steps. Every second one is ended from outside at any
moment, so that libraries are hit in the middle of their own writing too.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx
from PIL import Image
from pyarrow import parquet

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.export.manifest import read_manifest
from keras_yolo_backbones.export.onnx import exporter
from keras_yolo_backbones.export.tf_serving import saved_model, session
from keras_yolo_backbones.features import run
from keras_yolo_backbones.quantization import aware, calibration, distillation, reporting

IMPORTED = (
    aware,
    calibration,
    distillation,
    exporter,
    onnx,
    onnxruntime,
    reporting,
    run,
    saved_model,
    session,
    tf2onnx,
)
"""So that forks need not."""

STEPS = {"open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree"}
"""Audit events; those outside of the folder that is written to are not counted."""

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)


def small(bias: float = 0.0) -> keras.Model:
    """One convolution: an export of it takes about a second."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3), name="images")
    layer = keras.layers.Conv2D(4, 8, strides=8, activation="relu", bias_initializer="random_normal", name="stem")
    model = keras.Model(images, {"P3": layer(images)})
    layer.bias.assign_add(np.full(4, bias))
    return model


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    return kyb.v8("n", input_shape=(32, 32, 3), levels=("P3",))


def job(kind: str, folder: Path, photographs: Path, turn: int) -> None:
    """One export, other than that of the turn before."""
    if kind == "tflite":
        kyb.export_tflite(small(turn), folder / "x.tflite")
    elif kind == "tflite int8":
        kyb.export_tflite(small(turn), folder / "x.tflite", precision="int8", calibration=IMAGES)
    elif kind == "onnx":
        kyb.export_onnx(small(turn), folder / "x.onnx")
    elif kind == "onnx int8":
        kyb.export_onnx(small(turn), folder / "x.onnx", precision="int8", calibration=IMAGES)
    elif kind == "saved model":
        kyb.export_saved_model(small(turn), folder, signatures=["serving_default"], batch_sizes=(1,))
    elif kind == "weights":
        kyb.export_weights(network(), folder / "x.safetensors")
    else:
        size = ["v8-n", "--image-size", "32", "--levels", "P3", "--weights", str(photographs / "v8.weights.h5")]
        assert main(command(kind, size, folder, photographs, turn)) == 0


def command(kind: str, network: list[str], folder: Path, photographs: Path, turn: int) -> list[str]:
    if kind == "kyb quantize":
        return ["quantize", *network, "--images", str(photographs), "--out", str(folder), "--epochs", str(turn % 2)]
    if kind == "kyb features":
        images = ["--images", str(photographs / "*.png"), "--shard-size", "1", "--batch-size", "1"]
        return ["features", *network, *images, "--out", str(folder)]
    out = str(folder / "x.weights.h5")
    return ["import-weights", "v8-n", str(photographs / "v8.safetensors"), "--out", out, "--no-strict"]


KINDS = (
    *("tflite", "tflite int8", "onnx", "onnx int8", "saved model", "weights", "plan"),
    *("kyb import-weights", "kyb features", "kyb quantize"),
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(folder: Path) -> None:
    """Everything that has a name is whole, and belongs to what lies beside it."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if any(part.startswith(".") or part.endswith(".checkpoints") for part in path.relative_to(folder).parts):
            continue
        manifest = path.with_name(f"{path.name}.json")
        if path.suffix in (".tflite", ".onnx") and manifest.exists():
            assert read_manifest(path)["sha256"]["file"] == sha256(path)
        elif path.name.endswith(("plan.json", ".report.json", "manifest.json", ".onnx.json", ".tflite.json")):
            json.loads(path.read_text())
            if path.name.endswith((".onnx.json", ".tflite.json")):
                assert path.with_suffix("").exists(), f"{path} without its file"
        if path.name.endswith(".report.json"):
            report = json.loads(path.read_text())
            assert report["sha256"] == sha256(folder / report["file"])
        if path.name.endswith("plan.json") and "tables" not in path.read_text() and "ranges" in path.read_text():
            kyb.quantization.Plan.load(path)
        if path.suffix in (".safetensors", ".h5"):
            with kyb.read_checkpoint(path) as checkpoint:
                assert len([checkpoint.tensors[name] for name in checkpoint.tensors]) > 10
        if path.suffix == ".parquet":
            assert parquet.read_table(path).num_rows >= 0
    for version in (entry for entry in folder.iterdir() if entry.name.isdecimal()):
        assert (version / "saved_model.pb").stat().st_size > 1000
        assert json.loads((version / "manifest.json").read_text())


def forked(task: Callable[[], None], log: Path) -> int:
    """Start a task in a fork; returns its process id."""
    process = os.fork()
    if process:
        return process
    try:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        task()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    atexit._run_exitfuncs()
    os._exit(0)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def watched(folder: Path, task: Callable[[], None], at: int, counter: Path) -> Callable[[], None]:
    """`task` that ends itself at a step; `counter` grows by a byte for each step."""

    def run() -> None:
        steps = counter.open("wb", buffering=0)
        count = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal count
            if event in STEPS and any(str(folder) in str(argument) for argument in arguments[:2]):
                count += 1
                steps.write(b".")
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        task()

    return run


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


class Series:
    """The kills of one exporter."""

    def __init__(self, root: Path, kind: str, seed: int):
        self.kind, self.random = kind, random.Random(seed)
        self.root = root / kind.replace(" ", "-")
        self.folder, self.photographs, self.log = self.root / "out", self.root / "photographs", self.root / "log"
        self.temporary, self.counter = self.root / "tmp", self.root / "steps"
        for folder in (self.folder, self.photographs, self.temporary):
            folder.mkdir(parents=True)
        for index, image in enumerate(IMAGES):
            (self.photographs / f"{index}.png").write_bytes(png(image))
        self.turn, self.killed, self.left = 0, 0, Counter()
        assert wait(forked(self.prepare, self.log)) == 0, self.log.read_text()

    def prepare(self) -> None:
        model = network()
        model.save_weights(self.photographs / "v8.weights.h5")
        kyb.export_weights(model, self.photographs / "v8.safetensors")

    def start(self, at: int = 0) -> int:
        self.turn += 1
        turn = self.turn
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.temporary)
        if self.kind == "kyb features" and turn % 6 == 0:
            for path in self.folder.iterdir():
                path.unlink() if path.is_file() else None
        return forked(
            watched(self.root, lambda: job(self.kind, self.folder, self.photographs, turn), at, self.counter), self.log
        )

    def whole(self) -> float:
        """One run to its end: nothing of the killed ones is left. Returns its seconds."""
        begin = time.monotonic()
        assert wait(self.start()) == 0, self.log.read_text()[-3000:]
        assert hidden(self.folder) == [], hidden(self.folder)
        left = [path.name for path in self.temporary.iterdir()]
        assert left == [], left
        self.check()
        return time.monotonic() - begin

    def check(self) -> None:
        assert wait(forked(lambda: check(self.folder), self.log)) == 0, self.log.read_text()[-3000:]

    def kills(self, count: int) -> None:
        seconds = self.whole()
        steps = self.counter.stat().st_size
        while self.killed < count:
            inside = self.killed % 2 == 0
            process = self.start(self.random.randint(1, steps) if inside else 0)
            if not inside:
                time.sleep(self.random.uniform(0, seconds))
                os.kill(process, signal.SIGKILL)
            code = wait(process)
            assert code in (0, -signal.SIGKILL), self.log.read_text()[-3000:]
            self.killed += code != 0
            self.left[len(hidden(self.folder))] += 1
            self.check()
            if self.killed % 7 == 0:
                self.whole()
        self.whole()


def png(image: np.ndarray) -> bytes:
    """Without TensorFlow, which must not run before a fork."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def run_all(root: Path, count: int, kinds: Sequence[str]) -> None:
    share = -(-count // len(kinds))
    total = 0
    for seed, kind in enumerate(kinds):
        series = Series(root, kind, seed)
        begin = time.monotonic()
        series.kills(share)
        total += series.killed
        seconds = time.monotonic() - begin
        left = ", ".join(f"{times} x {count}" for count, times in sorted(series.left.items()))
        print(f"{kind:18} {series.killed:3} kills in {series.turn} runs, {seconds:4.0f} s; hidden files after: {left}")
        sys.stdout.flush()
    print(f"{total} kills; no pair that disagrees, nothing hidden after the next whole run", flush=True)


if __name__ == "__main__":
    assert tf.__version__
    run_all(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or KINDS)
