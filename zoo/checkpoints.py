"""Bring original weights in, and compare what the networks make of them: `make checkpoints CHECKPOINTS=dir GOLDEN=dir`.

CHECKPOINTS holds weight files, each with an `.npz` of the same name (or one whose `.json` names it as `checkpoint`): an
array `input`, or `image` in bytes, and the original's outputs `P2` … `P7`. Files without one are identified and loaded.
`*.pkl.gz` are pickles of torch files, whose storages are made up. Of GOLDEN, every golden file is written out as
safetensors, those of darknet as .weights too, and read back.

A row a file: what it was identified as, what it says it was trained with, tensors placed, the error of each level,
max|ours − original| / max|original|, and the same tensors written back bit for bit. The bound is 1e-5 for files and
1e-4 for golden ones. Where float32 exceeds it, the network is run in float64 as well: what is left then is the rounding
of the original, which is allowed up to three times what float32 changes in ours (the column "rounding").
"""

from __future__ import annotations

import argparse
import fnmatch
import gzip
import json
import lzma
import os
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import golden
import keras
import numpy as np
from rich.console import Console
from rich.table import Table
from safetensors.numpy import load_file, save_file
from torchfile import real_file

from keras_yolo_backbones.errors import BackboneError
from keras_yolo_backbones.registry import find, variants
from keras_yolo_backbones.weights.build import build
from keras_yolo_backbones.weights.layouts import layout_for, layout_of
from keras_yolo_backbones.weights.load import load_weights
from keras_yolo_backbones.weights.mapping import slots
from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint
from keras_yolo_backbones.weights.readers.darknet import in_file_order
from keras_yolo_backbones.weights.recognition.identify import identify
from keras_yolo_backbones.weights.recognition.trained import builder_call
from keras_yolo_backbones.weights.save import export_weights

BOUND = 1e-5
ROUNDED = 1e-4
"""For deep networks, where the original's own rounding counts."""

ROUNDINGS = 3
"""Between two float32 runs and the exact values there are different roundings."""


class Row(NamedTuple):
    """What was found about one file; `faults` is empty if all is well."""

    file: str
    identified: str
    build: str
    trained: str
    placed: int
    errors: dict[str, float]
    rounding: dict[str, float]
    written: int
    seconds: float
    faults: list[str]


def main() -> int:
    """Print the table; 0 if every row passes, 1 if one fails or none was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, nargs="+", default=[], help="folders with weight files and outputs")
    parser.add_argument("--golden", type=Path, help="folder with golden files")
    parser.add_argument("--pattern", default="*", help="which of the files, such as 'v8_*'")
    args = parser.parse_args()
    rows = []
    for path in [path for folder in args.checkpoints for path in sorted(folder.iterdir())]:
        if path.suffix in (".npz", ".json", ".md") or not fnmatch.fnmatch(path.name.partition(".")[0], args.pattern):
            continue
        rows.append(of_checkpoint(path))
        print(rows[-1], file=sys.stderr, flush=True)
    for path in sorted(args.golden.glob("*.npz")) if args.golden else []:
        known = golden.network_name(path.stem) in variants() and "@" not in path.stem
        if known and fnmatch.fnmatch(path.stem, args.pattern):
            rows += of_golden(path)
            print(rows[-1], file=sys.stderr, flush=True)
    Console(width=None if sys.stdout.isatty() else 180).print(table(rows))
    for row in rows:
        if row.faults:
            print(f"{row.file}: {'; '.join(row.faults)}")
    return 0 if rows and not any(row.faults for row in rows) else 1


def of_checkpoint(path: Path) -> Row:
    """A weight file, with stored outputs or without."""
    images, outputs = measured_outputs(path)
    with tempfile.TemporaryDirectory() as folder:
        file = path
        if path.name.endswith(".pkl.gz"):
            file = real_file(Path(folder) / path.name.removesuffix(".pkl.gz"), gzip.decompress(path.read_bytes()))
        elif path.suffix == ".xz":
            file = Path(folder) / path.stem
            file.write_bytes(lzma.decompress(path.read_bytes()))
        try:
            return check(file, path.name, "", images, outputs, BOUND)
        except BackboneError as error:
            faults = [str(error)] if outputs else []
            return Row(path.name, "refused", str(getattr(error, "reason", error)), "", 0, {}, {}, 0, 0.0, faults)


def measured_outputs(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The images and outputs that belong to a file; none if there are none."""
    named = [
        other for other in path.parent.glob("*.json") if json.loads(other.read_text()).get("checkpoint") == path.name
    ]
    stored = (named[0] if named else path.parent / f"{path.name.partition('.')[0]}.json").with_suffix(".npz")
    if not stored.exists():
        return np.zeros((1, 64, 64, 3), np.float32), {}
    with np.load(stored) as file:
        outputs = {name: file[name] for name in file.files if name[0] == "P" and name[1:].isdigit()}
        images = file["input"] if "input" in file.files else file["image"][np.newaxis].astype(np.float32) / 255
    return images, outputs


def of_golden(path: Path) -> list[Row]:
    """A golden file, written out in each format that the original has."""
    measured, name = golden.load(path), golden.network_name(path.stem)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{path.stem}.safetensors"
        save_file(measured.tensors, file)
        rows.append(check(file, path.stem, name, measured.images, measured.levels, ROUNDED))
        if all(key.partition(".")[0].isdigit() for key in measured.tensors):
            file = Path(folder) / f"{path.stem}.weights"
            write_darknet(file, measured.tensors)
            rows.append(check(file, path.stem, name, measured.images, measured.levels, ROUNDED))
    return rows


def write_darknet(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Header and numbers, as darknet writes them."""
    numbers = [tensors[key].astype("<f4").tobytes() for key in in_file_order(tensors)]
    path.write_bytes(struct.pack("<3iQ", 0, 2, 5, 0) + b"".join(numbers))


def check(path: Path, label: str, name: str, images: np.ndarray, outputs: dict[str, np.ndarray], bound: float) -> Row:
    """Identify, build, load, compare, write back, compare."""
    faults, start = [], time.monotonic()
    identity = identify(path)
    if name and name not in identity.names:
        faults.append(f"identified as {identity.name}, is {name}")
    options = {"levels": tuple(outputs)} if outputs else {}
    shape = (*images.shape[1:3], identity.channels or images.shape[3])
    model = build(identity, name, input_shape=shape, **options)
    loaded = load_weights(model, path, normalize=False)  # the images are what the bare network got
    found, rounding = outputs_of(model, images) if outputs else {}, {}
    errors = errors_of(found, outputs)
    if not all(error <= bound for error in errors.values()):  # float64 leaves the original's own rounding alone
        exact = build(identity, name, input_shape=shape, dtype="float64", **options)
        load_weights(exact, path, normalize=False)
        precise = outputs_of(exact, images)
        errors, rounding = errors_of(precise, outputs), errors_of(found, precise)
    if not all(error <= max(bound, ROUNDINGS * rounding.get(level, 0)) for level, error in errors.items()):
        faults.append(f"errors {errors}, more than {bound:.0e}, and rounding changes {rounding}")
    written, differing = (0, []) if identity.facts.fused else write_back(model, path, name or identity.names[0])
    faults += [f"{len(differing)} were not written back bit for bit, such as {differing[0]}"] if differing else []
    keras.backend.clear_session()
    call = builder_call(identity.network, identity.options, identity.channels)
    call = f"kyb.fuse({call})" if identity.facts.fused else call
    trained = f"{loaded.trained}{'' if loaded.trained.stated else ' (assumed)'}" if loaded.trained else ""
    seconds = time.monotonic() - start
    return Row(label, identity.name, call, trained, loaded.placed, errors, rounding, written, seconds, faults)


def outputs_of(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Every level."""
    found = model(images.astype(model.compute_dtype), training=False)
    return {level: keras.ops.convert_to_numpy(output) for level, output in found.items()}


def errors_of(found: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> dict[str, float]:
    """max|found − wanted| / max|wanted| of each level."""
    return {level: golden.relative_error(found[level], output) for level, output in outputs.items()}


def write_back(model: keras.Model, path: Path, name: str) -> tuple[int, list[str]]:
    """How many tensors `export_weights` writes, and which of them differ from the file's."""
    with tempfile.TemporaryDirectory() as folder, read_checkpoint(path) as checkpoint:
        file = Path(folder) / "back.safetensors"
        export_weights(model, file)
        back = load_file(file)
        if checkpoint.format == "darknet":
            same = Path(folder) / "back.weights"
            write_darknet(same, back)
            return len(back), [] if same.read_bytes() == path.read_bytes() else [name]
        variant = find(name)
        layout, own = layout_for(variant, checkpoint.tensors), layout_of(variant)
        keys = [key for key in checkpoint.tensors if layout.holds(key) and not key.endswith("num_batches_tracked")]
        renamed = {a.key: b.key for a, b in zip(slots(model, layout)[0], slots(model, own)[0], strict=True)}
        expected = {renamed.get(key, key): checkpoint.tensors[key] for key in keys}
        differing = [key for key in {**back, **expected} if not same_bits(back.get(key), expected.get(key))]
        return len(back), differing


def same_bits(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two arrays hold the same float32 numbers; fp16 widens exactly."""
    return a is not None and b is not None and a.tobytes() == b.astype(np.float32).tobytes()


def table(rows: list[Row]) -> Table:
    """The rows, to be printed."""
    made = Table(box=None, pad_edge=False)
    for head in ("file", "identified as", "build", "trained with"):
        made.add_column(head, overflow="fold")
    for head in ("placed", "errors", "rounding", "back", "seconds", ""):
        made.add_column(head, justify="right")
    for row in rows:
        errors, rounding = (
            " ".join(f"{level} {error:.0e}" for level, error in given.items()) for given in (row.errors, row.rounding)
        )
        numbers = [str(row.placed), errors, rounding, str(row.written or ""), f"{row.seconds:.1f}"]
        made.add_row(row.file, row.identified, row.build, row.trained, *numbers, "FAILS" if row.faults else "")
    return made


if __name__ == "__main__":
    sys.exit(main())
