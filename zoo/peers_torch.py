"""The v8 backbone in PyTorch, as its own exporters deploy it: a peer of ours for `zoo/benchmark.py`.

Batch norms are folded already, as every deployment does it; weights are random. Images are NCHW there: whoever has NHWC
images, as a camera gives them, pays for the transposition himself, so it is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from keras_yolo_backbones.benchmark import Candidate, onnx_runner, threads

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
    network = backbone(name)
    if network is None:
        return {}
    image = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        levels = network(image)
    expected = [side // stride for stride in (8, 16, 32)]
    if [level.shape[-1] for level in levels] != expected:
        raise RuntimeError(f"sides of the levels are {[level.shape[-1] for level in levels]}, not {expected}")
    found = {"onnxruntime, torch's file": _with_channels_first(onnx_runner(_onnx(network, image, folder)))}
    found |= _litert(network, image, folder)
    return found | {"torch.compile": compiled(network)}  # last: it turns the weights to channels last


def compiled(network: nn.Module) -> Candidate:
    """The network through torch.compile, channels last."""
    fast = torch.compile(network.to(memory_format=torch.channels_last))

    def run(images: np.ndarray) -> Any:
        # A view: NHWC memory is what torch calls channels last.
        with torch.inference_mode():
            return fast(torch.from_numpy(images).permute(0, 3, 1, 2))

    return run


def _onnx(network: nn.Module, image: torch.Tensor, folder: Path) -> Path:
    path = folder / "torch.onnx"
    torch.onnx.export(network, (image,), str(path), dynamo=True, verbose=False)
    return path


def _litert(network: nn.Module, image: torch.Tensor, folder: Path) -> dict[str, Candidate]:
    """litert-torch's float32 file, and ai-edge-quantizer's int8 of it."""
    import litert_torch
    from edge_quantizer import quantized

    from keras_yolo_backbones.litert import LiteModel

    path = folder / "litert-torch.tflite"
    litert_torch.convert(network, (image,)).export(str(path))
    int8 = quantized(
        path, [np.random.default_rng(0).random(tuple(image.shape), np.float32)], folder / "quantizer.tflite"
    )
    files = {"litert-torch float32": path, "litert-torch int8": int8}
    return {form: _with_channels_first(LiteModel(file, threads=threads())) for form, file in files.items()}


def _with_channels_first(run: Candidate) -> Candidate:
    kept: dict[int, np.ndarray] = {}

    def turned(images: np.ndarray) -> Any:
        if id(images) not in kept:
            kept[id(images)] = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return run(kept[id(images)])

    return turned
