"""Bring original weights in, and compare what the networks make of them: `make checkpoints CHECKPOINTS=dir GOLDEN=dir`.

CHECKPOINTS holds checkpoints of the original projects, each with an `.npz` of the same name: an array `input`, and the
original's outputs `P2` … `P7`. Of GOLDEN, every golden file is written out as safetensors, those of darknet as .weights
too, and read back. A row a file: what it was identified as, tensors placed and ignored, the worst level's error
max|ours − original| / max|original|, and the same tensors written back bit for bit. The bound is 1e-4.
"""

from __future__ import annotations

import argparse
import fnmatch
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

from keras_yolo_backbones.registry import create, variants
from keras_yolo_backbones.weights.layouts import layout_for, layout_of, moved
from keras_yolo_backbones.weights.load import load_weights
from keras_yolo_backbones.weights.readers.checkpoint import read_checkpoint
from keras_yolo_backbones.weights.readers.darknet import in_file_order
from keras_yolo_backbones.weights.recognition.identify import identify
from keras_yolo_backbones.weights.save import export_weights

BOUND = 1e-4


class Row(NamedTuple):
    """What was found about one file; `faults` is empty if all is well."""

    file: str
    format: str
    identified: str
    placed: int
    ignored: int
    error: float
    written: int
    seconds: tuple[float, float]
    faults: list[str]


def main() -> int:
    """Print the table; 0 if every row passes, 1 if one fails or none was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoints", type=Path, help="folder with checkpoints and their outputs")
    parser.add_argument("--golden", type=Path, help="folder with golden files")
    parser.add_argument("--pattern", default="*", help="which of the files, such as 'v8_*'")
    args = parser.parse_args()
    rows = []
    for path in sorted(args.checkpoints.iterdir()) if args.checkpoints else []:
        if path.suffix in (".pt", ".pth") and fnmatch.fnmatch(path.stem, args.pattern):
            rows.append(of_checkpoint(path))
            print(rows[-1], file=sys.stderr, flush=True)
    for path in sorted(args.golden.glob("*.npz")) if args.golden else []:
        known = golden.network_name(path.stem) in variants() and "@" not in path.stem
        if known and fnmatch.fnmatch(path.stem, args.pattern):
            rows += of_golden(path)
            print(rows[-1], file=sys.stderr, flush=True)
    Console(width=None if sys.stdout.isatty() else 130).print(table(rows))
    for row in rows:
        if row.faults:
            print(f"{row.file}: {'; '.join(row.faults)}")
    return 0 if rows and not any(row.faults for row in rows) else 1


def of_checkpoint(path: Path) -> Row:
    """A checkpoint file with stored outputs."""
    with np.load(path.with_suffix(".npz")) as file:
        outputs = {name: file[name] for name in file.files if name[0] == "P" and name[1:].isdigit()}
        images = file["input"]
    return check(path, path.name, identify(path).names[0], images, outputs)


def of_golden(path: Path) -> list[Row]:
    """A golden file, written out in each format that the original has."""
    measured, name = golden.load(path), golden.network_name(path.stem)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{path.stem}.safetensors"
        save_file(measured.tensors, file)
        rows.append(check(file, path.stem, name, measured.images, measured.levels))
        if all(key.partition(".")[0].isdigit() for key in measured.tensors):
            file = Path(folder) / f"{path.stem}.weights"
            write_darknet(file, measured.tensors)
            rows.append(check(file, path.stem, name, measured.images, measured.levels))
    return rows


def write_darknet(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """Header and numbers, as darknet writes them."""
    numbers = [tensors[key].astype("<f4").tobytes() for key in in_file_order(tensors)]
    path.write_bytes(struct.pack("<3iQ", 0, 2, 5, 0) + b"".join(numbers))


def check(path: Path, label: str, name: str, images: np.ndarray, outputs: dict[str, np.ndarray]) -> Row:
    """Identify, load, compare, write back, compare."""
    faults = []
    start = time.monotonic()
    identity = identify(path)
    identified = time.monotonic() - start
    if name not in identity.names:
        faults.append(f"identified as {identity.name}, is {name}")
    model = create(name, input_shape=images.shape[1:], levels=tuple(outputs))
    start = time.monotonic()
    loaded = load_weights(model, path, normalize=False)  # the images are what the bare network got
    seconds = identified, time.monotonic() - start
    found = model(images, training=False)
    error = max(
        golden.relative_error(keras.ops.convert_to_numpy(found[level]), output) for level, output in outputs.items()
    )
    if not error <= BOUND:
        faults.append(f"error {error:.1e}")
    written, differing = write_back(model, path, name)
    faults += [f"{len(differing)} were not written back bit for bit, such as {differing[0]}"] if differing else []
    keras.backend.clear_session()
    ignored = len(loaded.ignored)
    return Row(label, identity.format, identity.name, loaded.placed, ignored, error, written, seconds, faults)


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
        variant = variants()[name]
        layout, own = layout_for(variant, checkpoint.tensors), layout_of(variant)
        keys = [key for key in checkpoint.tensors if inside(key, layout.originals)]
        expected = {moved(key, layout, own): checkpoint.tensors[key] for key in keys}
        differing = [key for key in {**back, **expected} if not same_bits(back.get(key), expected.get(key))]
        return len(back), differing


def inside(key: str, modules: frozenset[str]) -> bool:
    """Whether a state-dict key belongs to the backbone."""
    return not key.endswith("num_batches_tracked") and any(key == m or key.startswith(f"{m}.") for m in modules)


def same_bits(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two arrays hold the same float32 numbers; fp16 widens exactly."""
    return a is not None and b is not None and a.tobytes() == b.astype(np.float32).tobytes()


def table(rows: list[Row]) -> Table:
    """The rows, to be printed."""
    made = Table(box=None, pad_edge=False)
    for head in ("file", "format", "identified as", "placed", "ignored", "error", "back", "identify", "load", ""):
        made.add_column(head, justify="left" if head in ("file", "format", "identified as") else "right")
    for row in rows:
        times = [f"{seconds:.2f} s" for seconds in row.seconds]
        numbers = [str(row.placed), str(row.ignored), f"{row.error:.1e}", str(row.written)]
        made.add_row(row.file, row.format, row.identified, *numbers, *times, "FAILS" if row.faults else "")
    return made


if __name__ == "__main__":
    sys.exit(main())
