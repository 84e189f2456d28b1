"""Files in which only some of the batch norms are folded, as a project's own fusing may leave them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping

import numpy as np

from keras_yolo_backbones.weights.readers.tensors import Tensors

_NORM = ("weight", "bias", "running_mean", "running_var")


class Unfolded(Mapping[str, np.ndarray]):
    """A file's tensors, with a batch norm that does nothing but add the bias for each that was folded.

    Args:
        tensors: of the file; `"stem.conv.weight"` and `"stem.conv.bias"` without `"stem.bn.weight"`.
        folded: the biases, from `folded_biases`.
        epsilon: of the network's batch norms.
    """

    def __init__(self, tensors: Tensors, folded: Iterable[str], epsilon: float):
        self._tensors, self._epsilon = tensors, epsilon
        self._norms = {norm: bias for bias in folded for norm in _norm_of(bias)}
        hidden = set(self._norms.values())
        self.shapes = {key: shape for key, shape in tensors.shapes.items() if key not in hidden}
        self.shapes |= {norm: tensors.shapes[bias] for norm, bias in self._norms.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        bias = self._norms.get(name)
        if bias is None:
            return self._tensors[name]
        if name.endswith(".bias"):
            return self._tensors[bias]
        shape = self._tensors.shapes[bias]
        if name.endswith(".running_mean"):
            return np.zeros(shape, np.float32)
        return np.full(shape, 1 - self._epsilon if name.endswith(".running_var") else 1, np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def folded_biases(shapes: Mapping[str, tuple[int, ...]], wanted: Container[str]) -> list[str]:
    """Biases of convolutions whose batch norm is missing, where others have theirs.

    Args:
        shapes: of the file's tensors.
        wanted: the keys that the model asks for: a convolution may have a bias and no batch norm from the start.
    """
    biases = [key for key in shapes if key.endswith(".conv.bias") and f"{key.removesuffix('bias')}weight" in shapes]
    found = [key for key in biases if not any(norm in shapes for norm in _norm_of(key)) and _norm_of(key)[0] in wanted]
    return found if any(key.endswith(".bn.running_var") for key in shapes) else []


def _norm_of(bias: str) -> list[str]:
    return [f"{bias.removesuffix('conv.bias')}bn.{part}" for part in _NORM]
