"""How well an int8 file does on real photographs, fed as its manifest says: `python zoo/camera.py yolox-tiny FILE`.

The reference is the original network on what the original takes. The int8 file gets bytes of photographs that it was
not calibrated on, prepared by nothing but the manifest beside it. One row a photograph: signal-to-noise ratio in dB.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import skimage.data
from ai_edge_litert.interpreter import Interpreter
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

import keras_yolo_backbones as kyb
from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.export.manifest import read_manifest
from keras_yolo_backbones.graph.agreement import agreement
from keras_yolo_backbones.registry import create

HELD_OUT = ("china", "chelsea", "coffee")


def photographs() -> dict[str, np.ndarray]:
    """The colour photographs that come with scikit-learn and scikit-image, by name."""
    china, flower = load_sample_images().images
    left, right, _ = skimage.data.stereo_motorcycle()
    others = {name: getattr(skimage.data, name)() for name in ("astronaut", "rocket", "chelsea", "coffee")}
    return {"china": china, "flower": flower, "motorcycle": left, "motorcycle, right": right, **others}


def parts(image: np.ndarray) -> list[np.ndarray]:
    """A photograph, its mirror image, and its corners at half and three quarters of its size."""
    height, width = image.shape[:2]
    found = [image, image[:, ::-1]]
    for share in (0.5, 0.75):
        rows, columns = int(height * share), int(width * share)
        tops, lefts = (0, height - rows), (0, width - columns)
        found += [image[top : top + rows, left : left + columns] for top in tops for left in lefts]
    return found


def loaded(network: str, file: Path, side: int, **options: Any) -> keras.Model:
    """The network with the file's weights; fused first, if the file's batch norms are folded."""
    model = create(network, input_shape=(side, side, 3))
    try:
        kyb.load_weights(model, file, **options)
    except CheckpointError:
        model = kyb.fuse(model)
        kyb.load_weights(model, file, **options)
    return model


def as_the_manifest_says(pixels: np.ndarray, manifest: dict[str, Any]) -> np.ndarray:
    """Letterboxed RGB bytes -> what goes into the file, by the manifest alone."""
    said, entry = manifest["preprocessing"], manifest["input"]
    values = pixels[..., ::-1] if said["color"] == "BGR" else pixels
    values = (values / said["divide_pixels_by"] - said.get("mean", 0)) / said.get("deviation", 1)
    if entry["dtype"] == "float32":
        return values.astype(np.float32)
    limits = np.iinfo(entry["dtype"])
    return np.clip(np.rint(values / entry["scale"]) + entry["zero_point"], limits.min, limits.max).astype(
        entry["dtype"]
    )


def measured(network: str, file: Path, side: int, *, normalize: bool, method: str) -> dict[str, dict[str, float]]:
    """Photograph -> level -> dB."""
    originals = loaded(network, file, side, normalize=False)
    images = photographs()
    used = [part for name, image in images.items() if name not in HELD_OUT for part in parts(image)]
    calibration = np.stack([kyb.letterbox(np.ascontiguousarray(image), side, side).image for image in used])
    model = kyb.quantize_aware(loaded(network, file, side, normalize=normalize), calibration, method=method)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        kyb.export_tflite(model, path)
        manifest = read_manifest(path)
        runner = Interpreter(model_content=path.read_bytes()).get_signature_runner()
    found = {}
    for name in HELD_OUT:
        pixels = kyb.letterbox(images[name], side, side).image[np.newaxis]
        wanted = originals(kyb.preprocess(images[name], originals).images, training=False)
        given = runner(**{manifest["input"]["name"]: as_the_manifest_says(pixels, manifest)})
        found[name] = {
            level: agreement(
                np.asarray(wanted[level]), (given[level] - np.float32(said["zero_point"])) * said["scale"]
            ).snr_db
            for level, said in manifest["outputs"].items()
        }
    return found


def main() -> int:
    """Print the table; 0 if every level has as many dB as are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", help="registry name, such as yolox-tiny")
    parser.add_argument("file", type=Path, help="its trained weights")
    parser.add_argument("--side", type=int, default=416, help="of the square images")
    parser.add_argument("--keep", action="store_true", help="keep the original's own convention (normalize=False)")
    parser.add_argument("--method", default="percentile", help="auto, minmax, percentile (default) or mse")
    parser.add_argument("--least", type=float, default=15.0, help="dB")
    args = parser.parse_args()
    found = measured(args.network, args.file, args.side, normalize=not args.keep, method=args.method)
    levels = list(next(iter(found.values())))
    table = Table("photograph", *levels, box=None, pad_edge=False)
    for name, ratios in found.items():
        table.add_row(name, *(f"{ratios[level]:.1f} dB" for level in levels))
    Console().print(table)
    return 0 if min(min(ratios.values()) for ratios in found.values()) >= args.least else 1


if __name__ == "__main__":
    sys.exit(main())
