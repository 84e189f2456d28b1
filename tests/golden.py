"""Golden outputs of the original networks: weights by formula, images by seed, outputs as they were measured."""

from __future__ import annotations

import json
import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from safetensors.numpy import save_file

from keras_yolo_backbones.errors import CheckpointError
from keras_yolo_backbones.registry import create
from keras_yolo_backbones.weights.load import load_weights

DATA = Path(__file__).parent / "data"

DEEP = (
    "11_x",
    "26_l-p6",
    "26_x",
    "26_x-p6",
    "rtmdet_l",
    "rtmdet_x",
    "v3_spp@large",
    "v3u_spp@large",
    "v6_lite-l",
    "v4_base@large",
    "v4_csp",
    "v4_csp@large",
    "v4-scaled_csp@large",
    "v4-scaled_p6@large",
    "v4-scaled_p7",
    "v5-focus_s6@large",
    "v5-focus_x",
    "v5-focus_x6",
    "v6_l6",
    "v6_l6@large",
    "v6_l@large",
    "v6_m6",
    "v6_m@large",
    "v6_n6@large",
    "v7_base@large",
    "v7_d6",
    "v7_e6",
    "v7_e6e",
    "v7_w6@large",
    "v9_m@large",
    "yolox_darknet53@large",
    "yolox_x",
)
"""Golden files of deep networks with large activations, rounded by more than 1e-5 when they were measured."""


class Golden(NamedTuple):
    """One measured network.

    Attributes:
        meta: where it comes from, see `load`.
        tensors: the original's state dict, torch layout, float32.
        images: (batch, height, width, 3), RGB in [0, 1).
        levels: level name -> the original's output, NHWC.
    """

    meta: dict[str, Any]
    tensors: dict[str, np.ndarray]
    images: np.ndarray
    levels: dict[str, np.ndarray]


def load(path: Path) -> Golden:
    """Read a golden file and make the weights and images that it was measured with."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(arrays.pop("meta").tobytes())
    statistics = _statistics(meta, arrays)
    tensors = {
        key: statistics[key] if key in statistics else _formula(key, tuple(shape), meta["weights_seed"])
        for key, shape in meta["entries"]
        if not key.endswith(".num_batches_tracked")
    }
    images = np.random.RandomState(meta["input"]["seed"]).random_sample(meta["input"]["shape"]).astype(np.float32)
    return Golden(meta, tensors, images, {name: arrays[name] for name in arrays if name.startswith("P")})


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """max|a − b| / max|b|."""
    return float(np.max(np.abs(a - b)) / np.max(np.abs(b)))


def bound(file_name: str) -> float:
    """Relative error that is allowed to a golden file's levels in float64."""
    return 5e-5 if file_name in DEEP else 1e-5


def _statistics(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The moving means and variances, stored one after another."""
    means, variances = arrays.pop("running_mean"), arrays.pop("running_var")
    found, start = {}, 0
    for name, channels, _ in meta["batch_norms"]:
        found[f"{name}.running_mean"] = means[start : start + channels]
        found[f"{name}.running_var"] = variances[start : start + channels]
        start += channels
    return found


def _formula(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    random = np.random.RandomState((zlib.crc32(key.encode()) + seed) & 0xFFFFFFFF)
    u = (random.random_sample(shape) * 2 - 1).astype(np.float32)
    if len(shape) == 4:
        return u * np.float32(np.sqrt(3 / np.prod(shape[1:])))
    if key.endswith(".bias"):
        return u * np.float32(0.5)
    if len(shape) == 1 and key.endswith(".weight"):
        return np.float32(1.05) + np.float32(0.45) * u
    return np.float32(0.75) + np.float32(0.45) * u


_FAMILIES = {
    "v3u": "v3-u",
    "v5-focus": "v5-5.0",
    "11": "v11",
    "12": "v12",
    "11-cls": "v11-cls",
    "12-cls": "v12-cls",
    "26-cls": "v26-cls",
    "ppyoloe-plus": "ppyoloe",
    "v9-mit": "v9",
    "26": "v26",
}
"""Where the golden files name a family, and a release of it, otherwise than the registry."""


def network_name(file_name: str) -> str:
    """Registry name of the network that a golden file measures: `"v5-focus_s6@large"` -> `"v5-5.0-s6"`.

    `reference.json` calls its rows likewise, `"<family>_<size>"`.
    """
    family, _, size = file_name.removesuffix("@large").partition("_")
    if family == "v9-wky":  # the authors' own files: the same networks, some numbered otherwise
        family, size = "v9", size.rpartition("-")[2]
    size = size.removesuffix("-p6") + "6" if size.endswith("-p6") else size
    for release in ("mbla", "lite"):
        if family == "v6" and release in size:
            family, size = f"v6-{release}", size.replace(release, "").strip("-")
    size = size.lower() if family == "damo" else size
    size = "base" if (family, size) == ("v3", "darknet53") else size
    return f"{_FAMILIES.get(family, family)}-{size}"


def build(golden: Golden, name: str, **options: Any) -> keras.Model:
    """The network called `name` with the golden file's weights in it, for its images and its levels.

    Raises:
        CheckpointError: a tensor found no place, or a place no tensor.
    """
    options = {"input_shape": golden.images.shape[1:], "levels": tuple(golden.levels)} | options
    model = create(name, **options)
    load_into(model, golden.tensors)
    return model


def load_into(model: keras.Model, tensors: dict[str, np.ndarray]) -> None:
    """Load tensors as a user does, from a file; `CheckpointError` if one of them found no place."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{model.name}.safetensors"
        save_file({key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}, file)
        loaded = load_weights(model, file, normalize=False)  # the images are what the bare network got
    strange = [key for key in loaded.ignored if "rbr_reparam" not in key]  # YOLO-NAS stores these and does not use them
    if strange:
        raise CheckpointError(model.name, f"no place for {', '.join(strange)}.")


def outputs(golden: Golden, model: keras.Model) -> dict[str, np.ndarray]:
    """What `model` returns for the golden file's images, by level."""
    return {level: np.asarray(output) for level, output in model(golden.images, training=False).items()}


def distances(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> dict[str, float]:
    """`relative_error` of each level in `found`."""
    return {level: relative_error(found[level], wanted[level]) for level in found}


def errors(golden: Golden, model: keras.Model) -> dict[str, float]:
    """`relative_error` of each level that `model` returns."""
    return distances(outputs(golden, model), golden.levels)
