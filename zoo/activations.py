"""What of a trained SiLU network can be carried over to ReLU6 without labels, and how long that takes.

    python zoo/activations.py --cache dir [--epochs 3 3 3 25] [--out activations.json]

The network is tau's (trained_files.py), the images are crops of the micrograph that comes with it. The activation
changes by and by from SiLU to ReLU6; after each change batch norms are estimated again, and `distill` trains against
the SiLU network. Levels may keep SiLU at their end, for ReLU6 cannot be negative and much of what they hold is.
Measured are dB against the SiLU network, and the boxes of the original head, on crops that training never saw.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from trained import joined, machine
from trained_files import SIDE, Files
from trained_heads import Detector, found_again
from trained_images import Images, micrographs

import keras_yolo_backbones as kyb
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.graph.ir import Graph, Node
from keras_yolo_backbones.graph.read import read
from keras_yolo_backbones.graph.rewrite import rebuild
from keras_yolo_backbones.quantization.lower import activation_of

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of ReLU6 in the activation, one after the other."""


class Blend(keras.layers.Layer):
    """SiLU that becomes ReLU6: a share of the one, the rest of the other."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.share = self.add_weight(shape=(), initializer="zeros", trainable=False, name="share")

    def call(self, x: Any) -> Any:
        return (1 - self.share) * keras.ops.silu(x) + self.share * keras.ops.relu6(x)


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("trained"), help="wheels are kept here")
    parser.add_argument("--files", type=Path, help="a folder with the weight files themselves")
    parser.add_argument("--crops", type=int, default=500)
    parser.add_argument("--epochs", type=int, nargs=len(SHARES), default=[3, 3, 3, 25], help="after each change")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--keep-levels", action="store_true", help="levels end in SiLU")
    parser.add_argument("--out", type=Path, default=Path("activations.json"))
    args = parser.parse_args()
    files = Files(args.cache, args.files)
    teacher, detector = files.network("tau"), Detector(files.tensors("tau"))
    images = micrographs(files.micrograph(), SIDE, count=args.crops)
    student = blended(teacher, keep_levels=args.keep_levels)
    start, rows = time.monotonic(), []

    def told(what: str) -> None:
        row = {"what": what, "seconds": round(time.monotonic() - start)} | measured(teacher, student, images, detector)
        rows.append(row)
        print(json.dumps(row), flush=True)
        args.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")

    set_share(student, 1.0)
    told("ReLU6 with the weights of SiLU")
    estimate_norms(student, images.calibration)
    told("batch norms estimated again")
    for share, epochs in zip(SHARES, args.epochs, strict=True):
        set_share(student, share)
        estimate_norms(student, images.calibration)
        options = {"epochs": epochs, "patience": epochs, "learning_rate": args.learning_rate}
        kyb.quantization.distill(teacher, student, images.calibration, quiet=True, **options)
        told(f"{share:.0%} ReLU6, {epochs} epochs")


def blended(model: keras.Model, *, keep_levels: bool) -> keras.Model:
    """The network with `Blend` in place of SiLU; where asked not at the end of a level."""
    graph = read(model)
    kept = ends(graph) if keep_levels else set()

    def rule(node: Node, args: tuple[Any, ...], _: dict[str, Any]) -> Any:
        if activation_of(node.layer) != "silu" or node in kept:
            return NotImplemented
        return Blend(name=node.layer.name)(*args)

    return rebuild(graph, rule)


def ends(graph: Graph) -> set[Node]:
    """The calls that compute the outputs."""
    return {value.node for value in keras.tree.flatten(graph.outputs)}


def set_share(model: keras.Model, share: float) -> None:
    """Give all blends this share of ReLU6."""
    for layer in model.layers:
        if isinstance(layer, Blend):
            layer.share.assign(share)


def estimate_norms(model: keras.Model, images: np.ndarray, batch: int = 16, batches: int = 12) -> None:
    """Give batch norms the mean statistics of some batches, each normalized by its own."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [layer.momentum for layer in norms]
    order = np.resize(np.random.default_rng(0).permutation(len(images)), batch * batches)
    for index in range(batches):
        for layer in norms:
            layer.momentum = index / (index + 1)  # the running mean of all batches so far
        model(np.float32(images[order[index * batch : (index + 1) * batch]]) / 255, training=True)
    for layer, momentum in zip(norms, before, strict=True):
        layer.momentum = momentum


def measured(teacher: keras.Model, student: keras.Model, images: Images, detector: Detector) -> dict[str, Any]:
    """dB of each level, recall and precision, on held-out crops."""
    held_out = np.float32(images.held_out) / 255
    wanted, given = (joined(lambda image, m=model: m(image, training=False), held_out) for model in (teacher, student))
    ratios = {level: round(agreement(wanted[level], given[level]).snr_db, 1) for level in wanted}
    return {"db": ratios, "boxes": found_again(detector(wanted), detector(given))}


if __name__ == "__main__":
    main()
