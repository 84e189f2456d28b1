"""What PyTorch's own roads make of the v8 backbone: peers of ours for `zoo/benchmark.py`.

Images are NCHW there: whoever has NHWC images, as a camera gives them, pays for the transposition himself, so it is not
timed. All that needs PyTorch is in processes of their own (torch_backbone.py), for it crashes beside TensorFlow.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from keras_yolo_backbones.benchmark import Candidate, onnx_runner, threads
from keras_yolo_backbones.litert import LiteModel

SIZES = {"v8-n": (16, (1, 2, 2, 1)), "v8-s": (32, (1, 2, 2, 1))}
"""Network -> channels of the stem, units of each stage."""

ONNX, FLOAT, INT8 = "torch.onnx", "litert-torch.tflite", "litert-torch-int8.tflite"

NEW, AGAIN = "new\n", "again\n"
"""What torch_backbone.py is told: to run images that are in the file now, or the same as before."""

_PROGRAM = [sys.executable, str(Path(__file__).with_name("torch_backbone.py"))]


def torch_peers(name: str, side: int, folder: Path) -> dict[str, Candidate]:
    """What PyTorch's own roads make of a network: form -> a function that runs it.

    Args:
        name: of the network, such as `v8-s` or `v8-s:relu6`.
        side: of the image, in pixels.
        folder: where the files go.
    """
    own, _, activation = name.partition(":")
    if own not in SIZES or activation not in ("", "relu6"):
        return {}
    subprocess.run([*_PROGRAM, "files", name, str(side), str(folder)], check=True, stdout=subprocess.DEVNULL)
    litert = {"litert-torch float32": FLOAT, "litert-torch int8": INT8}
    runs: dict[str, Candidate] = {form: LiteModel(folder / file, threads=threads()) for form, file in litert.items()}
    runs["onnxruntime, torch's file"] = onnx_runner(folder / ONNX)
    found = {form: _with_channels_first(run) for form, run in runs.items()}
    return found | {"torch.compile": _compiled(name, folder / "images.npy")}


def _compiled(name: str, file: Path) -> Candidate:
    """The network through torch.compile; images that it had last are not sent again."""
    process = subprocess.Popen(
        [*_PROGRAM, "answer", name, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told, answers, sent = process.stdin, process.stdout, None

    def run(images: np.ndarray) -> None:
        nonlocal sent
        if images is not sent:
            np.save(file, images)
        told.write(AGAIN if images is sent else NEW)
        told.flush()
        sent = images
        if not answers.readline():
            raise RuntimeError("the process that runs torch.compile has ended")

    return run


def _with_channels_first(run: Candidate) -> Candidate:
    """Images that it had last are not transposed again."""
    sent, turned = None, np.empty(0)

    def transposed(images: np.ndarray) -> Any:
        nonlocal sent, turned
        if images is not sent:
            sent, turned = images, np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return run(turned)

    return transposed
