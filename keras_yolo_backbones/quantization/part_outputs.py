"""What parts of a fake-quantized network give for images, and what becomes of the network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from keras_yolo_backbones.quantization.segments import Call, Segment

_TOLERANCE = 1.05
"""How much worse outputs may be than they were at best: before the last parts are learned, they say little."""


Run = Callable[[np.ndarray], list[np.ndarray]]
"""What a part gives for all inputs: `end` and what is returned."""


def compiled(part: Segment, calls: Mapping[int, Call], batch_size: int = 8) -> Run:
    """A part as one function of arrays; weights may change between its calls."""
    graph = tf.function(lambda batch: part.run(batch, calls), autograph=False, reduce_retracing=True)

    def run(inputs: np.ndarray) -> list[np.ndarray]:
        found = [graph(tf.constant(inputs[start : start + batch_size])) for start in range(0, len(inputs), batch_size)]
        return [np.concatenate([np.asarray(tensor) for tensor in tensors]) for tensors in zip(*found, strict=True)]

    return run


class Outputs:
    """The network's outputs on held-out images: a part that comes closer to its own goal can still harm them.

    Args:
        runs: the parts of the fake-quantized network, in order.
        floats: the same as the float network computes them.
        images: held out.
    """

    def __init__(self, runs: list[Run], floats: list[Run], images: np.ndarray) -> None:
        self._runs = runs
        self._goals = self._returned(floats, images)
        self._errors = self._from(0, images)
        self._least = float(np.mean(self._errors))

    def allow(self, index: int, inputs: np.ndarray) -> bool:
        """Whether the outputs are about as good as they ever were, with part `index` as it is now.

        Args:
            index: of the part.
            inputs: what the parts before it make of the held-out images.
        """
        found = self._from(index, inputs)
        errors = [*self._errors[: -len(found)], *found]
        error = float(np.mean(errors))
        if not error <= _TOLERANCE * self._least:
            return False
        self._errors, self._least = errors, min(self._least, error)
        return True

    def _from(self, index: int, inputs: np.ndarray) -> list[float]:
        """Squared error, in units of power, of each output that part `index` or a later one returns."""
        found = self._returned(self._runs[index:], inputs)
        pairs = zip(found, self._goals[-len(found) :], strict=True)
        return [float(np.mean(np.square(f - g)) / (np.mean(np.square(g)) + 1e-12)) for f, g in pairs]

    def _returned(self, runs: list[Run], tensor: np.ndarray) -> list[np.ndarray]:
        """What parts return one after the other; the end of the last comes last."""
        found: list[np.ndarray] = []
        for run in runs:
            tensor, *returned = run(tensor)
            found += returned
        return [*found, tensor]
