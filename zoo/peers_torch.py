"""The v8 backbone in PyTorch, as its own exporters deploy it: a peer of ours for `zoo/benchmark.py`.

Batch norms are folded already, as every deployment does it; weights are random. Images are NCHW there: whoever has NHWC
images, as a camera gives them, pays for the transposition himself, so it is not timed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from keras_yolo_backbones.benchmark import Candidate, onnx_runner, threads
from keras_yolo_backbones.litert import LiteModel

ONNX, FLOAT, INT8 = "torch.onnx", "litert-torch.tflite", "litert-torch-int8.tflite"

SIZES = {"v8-n": (16, (1, 2, 2, 1)), "v8-s": (32, (1, 2, 2, 1))}
"""Network -> channels of the stem, units of each stage."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"": nn.SiLU, "relu6": nn.ReLU6}


class Conv(nn.Sequential):
    """Convolution with a bias and activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, activation: Callable[[], nn.Module]):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), activation())


class Stage(nn.Module):
    """C2f: half of the channels run through residual units, whose outputs are all joined."""

    def __init__(self, width: int, units: int, activation: Callable[[], nn.Module]):
        super().__init__()
        half = width // 2
        self.first = Conv(width, width, 1, 1, activation)
        self.units = nn.ModuleList(
            nn.Sequential(Conv(half, half, 3, 1, activation), Conv(half, half, 3, 1, activation)) for _ in range(units)
        )
        self.last = Conv((2 + units) * half, width, 1, 1, activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for unit in self.units:
            parts.append(parts[-1] + unit(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Pooling(nn.Module):
    """SPPF: three max pools one after the other, all joined."""

    def __init__(self, width: int, activation: Callable[[], nn.Module]):
        super().__init__()
        self.first = Conv(width, width // 2, 1, 1, activation)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.last = Conv(2 * width, width, 1, 1, activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Backbone(nn.Module):
    """(batch, 3, height, width) float32 -> P3, P4, P5."""

    def __init__(self, width: int, units: tuple[int, ...], activation: Callable[[], nn.Module]):
        super().__init__()
        self.stem = Conv(3, width, 3, 2, activation)
        self.stages = nn.ModuleList()
        for count in units:
            stage = [Conv(width, 2 * width, 3, 2, activation), Stage(2 * width, count, activation)]
            width *= 2
            self.stages.append(nn.Sequential(*stage))
        self.stages[-1].append(Pooling(width, activation))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stages[0](self.stem(x))
        levels = []
        for stage in self.stages[1:]:
            x = stage(x)
            levels.append(x)
        return tuple(levels)


def backbone(name: str) -> Backbone | None:
    """The network of a name such as `v8-s:relu6`, or None if it is not of this family."""
    own, _, activation = name.partition(":")
    if own not in SIZES or activation not in ACTIVATIONS:
        return None
    torch.manual_seed(0)
    torch.set_num_threads(threads())
    return Backbone(*SIZES[own], ACTIVATIONS[activation]).eval()


def torch_peers(name: str, side: int, folder: Path) -> dict[str, Candidate]:
    """What PyTorch's own roads make of a network: form -> a function that runs it.

    Args:
        name: of the network.
        side: of the image, in pixels.
        folder: where the files go.
    """
    if backbone(name) is None:
        return {}
    # In a process that has TensorFlow, PyTorch's exporters and compiler crash.
    subprocess.run([sys.executable, __file__, name, str(side), str(folder)], check=True, stdout=subprocess.DEVNULL)
    litert = {"litert-torch float32": FLOAT, "litert-torch int8": INT8}
    runs = {form: LiteModel(folder / file, threads=threads()) for form, file in litert.items()}
    runs["onnxruntime, torch's file"] = onnx_runner(folder / ONNX)
    found = {form: _with_channels_first(run) for form, run in runs.items()}
    return found | {"torch.compile": Compiled(name, folder)}


def write_files(name: str, side: int, folder: Path) -> None:
    """The ONNX file of PyTorch's exporter, litert-torch's float32 file, and ai-edge-quantizer's int8 of that."""
    import litert_torch
    from edge_quantizer import quantized

    network = backbone(name)
    if network is None:
        raise SystemExit(f"no such network here: {name}")
    image = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        sides = [level.shape[-1] for level in network(image)]
    if sides != [side // stride for stride in (8, 16, 32)]:
        raise RuntimeError(f"{name}: sides of the levels are {sides}")
    torch.onnx.export(network, (image,), str(folder / ONNX), dynamo=True, verbose=False)
    litert_torch.convert(network, (image,)).export(str(folder / FLOAT))
    quantized(folder / FLOAT, [image.numpy()], folder / INT8)


class Compiled:
    """The network through torch.compile, channels last, in a process of its own: it runs the same images again."""

    def __init__(self, name: str, folder: Path) -> None:
        self._images: np.ndarray | None = None
        self._file = folder / "images.npy"
        command = [sys.executable, __file__, name, str(self._file)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, images: np.ndarray) -> None:
        """One run; the first one with these images also sends and compiles."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if images is not self._images:
            self._images = images
            np.save(self._file, images)
            self._say(b"new\n")
        self._say(b"run\n")

    def _say(self, word: bytes) -> None:
        self._process.stdin.write(word)  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]
        if not self._process.stdout.readline():  # type: ignore[union-attr]
            raise RuntimeError("the process that runs torch.compile has ended")


def answer(name: str, file: Path) -> None:
    """The other end of `Compiled`: a line for a line."""
    network = backbone(name)
    assert network is not None
    fast = torch.compile(network.to(memory_format=torch.channels_last))
    image = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():
        for line in sys.stdin:
            if line == "new\n":  # NHWC memory is what torch calls channels last
                image = torch.from_numpy(np.load(file)).permute(0, 3, 1, 2)
            fast(image)
            print("done", flush=True)


def _with_channels_first(run: Candidate) -> Candidate:
    kept: dict[int, np.ndarray] = {}

    def turned(images: np.ndarray) -> Any:
        if id(images) not in kept:
            kept[id(images)] = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return run(kept[id(images)])

    return turned


if __name__ == "__main__":
    if len(sys.argv) == 3:
        answer(sys.argv[1], Path(sys.argv[2]))
    else:
        write_files(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
