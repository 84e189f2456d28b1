"""The v8 backbone in PyTorch, as its own roads deploy it: a program, for PyTorch crashes beside TensorFlow.

    python zoo/torch_backbone.py files v8-s 640 FOLDER    write its files
    python zoo/torch_backbone.py answer v8-s FILE         run it through torch.compile, once for each line

Batch norms are folded already, as every deployment does it; weights are random.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peers_torch import FLOAT, INT8, NEW, ONNX, SIZES
from torch import nn

from keras_yolo_backbones.benchmark import threads

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


def backbone(name: str) -> Backbone:
    """The network of a name such as `v8-s:relu6`."""
    own, _, activation = name.partition(":")
    torch.manual_seed(0)
    torch.set_num_threads(threads())
    return Backbone(*SIZES[own], ACTIVATIONS[activation]).eval()


def write_files(name: str, side: int, folder: Path) -> None:
    """The ONNX file of PyTorch's exporter, litert-torch's float32 file, and ai-edge-quantizer's int8 of that."""
    import litert_torch
    from edge_quantizer import quantized

    network, image = backbone(name), torch.rand(1, 3, side, side)
    with torch.inference_mode():
        sides = [level.shape[-1] for level in network(image)]
    if sides != [side // stride for stride in (8, 16, 32)]:
        raise RuntimeError(f"{name}: sides of the levels are {sides}")
    torch.onnx.export(network, (image,), str(folder / ONNX), dynamo=True, verbose=False)
    litert_torch.convert(network, (image,)).export(str(folder / FLOAT))
    quantized(folder / FLOAT, [image.numpy()], folder / INT8)


def answer(name: str, file: Path) -> None:
    """The other end of `peers_torch._compiled`: a line for a line."""
    fast = torch.compile(backbone(name).to(memory_format=torch.channels_last))
    with torch.inference_mode():
        for line in sys.stdin:
            if line == NEW:  # NHWC memory is what torch calls channels last
                image = torch.from_numpy(np.load(file)).permute(0, 3, 1, 2)
            fast(image)
            print("done", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["files", name, side, folder]:
            write_files(name, int(side), Path(folder))
        case ["answer", name, file]:
            answer(name, Path(file))
        case _:
            raise SystemExit(__doc__)
