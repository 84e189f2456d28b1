"""Compare every network with the original's golden outputs, parameters and MACs: `make parity GOLDEN=dir`.

One row a golden file: the worst level and its error, max|ours − original| / max|original|, as built and fused. The
bound is 1e-5. Where float32 exceeds it, both run again in float64, which leaves the original's own rounding alone; that
is more than 1e-5 only for the deep networks that `golden.DEEP` names, and 5e-5 is allowed to them.

Networks of which there are no golden outputs, only the original's numbers, have a row with these alone.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import golden
import keras
from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.fragile import without_values
from keras_yolo_backbones.graph.cost import macs
from keras_yolo_backbones.graph.fuse import fuse
from keras_yolo_backbones.registry import create, variants


class Counts(NamedTuple):
    """Trainable parameters with and without the context block, and multiply-accumulates of a 640×640 image."""

    parameters: int
    without_top: int
    macs: int


class Row(NamedTuple):
    """What was found about one golden file.

    Attributes:
        file: its name without the suffix; "" if there is none, and the counts alone are compared.
        network: the network's registry name.
        level: the level with the largest error.
        single: that error in float32.
        fused: the same of the fused network.
        double: the larger of both in float64, `None` where float32 was enough.
        counts: what was counted of it, `None` where the original's numbers are not there.
        seconds: how long it took.
        faults: what is wrong, empty if nothing is.
    """

    file: str
    network: str
    level: str
    single: float | None
    fused: float | None
    double: float | None
    counts: Counts | None
    seconds: float
    faults: list[str]


def main() -> int:
    """Print the table; 0 if every row passes, 1 if one fails, none was found, or a network could not be compared."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("golden", type=Path, help="folder with the golden files")
    parser.add_argument("pattern", nargs="?", default="*", help="which of them, such as 'v8_*'")
    parser.add_argument("--reference", type=Path, help="folder of reference*.json; that of the golden files by default")
    args = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    counts = read_counts(args.reference or args.golden)
    files = [path for path in sorted(args.golden.glob("*.npz")) if fnmatch.fnmatch(path.stem, args.pattern)]
    known, total = variants(), len(files)
    foreign = [path.stem for path in files if golden.network_name(path.stem) not in known]
    measured = {golden.network_name(path.stem) for path in files}
    counted = [name for name in known if name in counts and name not in measured] if args.pattern == "*" else []
    total += len(counted) - len(foreign)
    rows: list[Row] = []
    checks = [partial(check, path, counts) for path in files if path.stem not in foreign]
    for checked in [*checks, *(partial(check_counts, name, counts) for name in counted)]:
        rows.append(checked())
        if console.is_terminal:
            console.print(f"{len(rows)}/{total} {rows[-1].network}", end="\r")
    console.print(table(rows))
    missing = sorted(set(known) - {row.network for row in rows}) if args.pattern == "*" else []
    return verdict(console, rows, missing, foreign)


def verdict(console: Console, rows: list[Row], missing: list[str], foreign: list[str]) -> int:
    """Say what failed, and what could not be compared; 0 if there are rows, and all of them pass."""
    failed = [row for row in rows if row.faults]
    for row in failed:
        console.print(f"{row.file or row.network}: {'; '.join(row.faults)}", style="red")
    if missing:
        console.print(f"networks of which nothing is known to compare with: {', '.join(missing)}", style="red")
    if foreign:
        console.print(f"golden files of networks that are not in this package: {', '.join(foreign)}")
    bare = [row.network for row in rows if not row.file]
    if bare:
        console.print(f"counts alone, for there is no golden file: {', '.join(bare)}")
    outputs = f"outputs of {len(rows) - len(bare)}, counts of {sum(row.counts is not None for row in rows)}"
    console.print(f"{len(rows) - len(failed)} of {len(rows)} rows pass: {outputs}")
    return 0 if rows and not failed and not missing else 1


def read_counts(folder: Path) -> dict[str, Counts]:
    """Network -> what the original has, by all `reference*.json` in the folder and above it."""
    files = [*folder.glob("reference*.json"), *folder.parent.glob("reference*.json")]
    rows = [row for file in files for row in json.loads(file.read_text())["rows"]]
    return {
        golden.network_name(f"{row['family']}_{row['size']}"): Counts(
            row["params"], row["params_without_top"], row["macs_640_total"]
        )
        for row in rows
    }


def check(path: Path, counts: dict[str, Counts]) -> Row:
    """Run one golden file."""
    start = time.monotonic()
    keras.backend.clear_session()
    network, measured = golden.network_name(path.stem), golden.load(path)
    level, single, fused = worst(measured, network)
    double, faults = None, []
    if not max(single, fused) <= 1e-5:
        level, *both = worst(measured, network, dtype="float64")
        double = max(both)
        bound = golden.bound(path.stem)
        if not double <= bound:
            faults.append(f"{level} is off by {double:.1e}, more than {bound:.0e}")
    counted = None
    if network in counts and not path.stem.endswith("@large"):
        counted = count(network)
        faults += differences(counted, counts[network])
    return Row(path.stem, network, level, single, fused, double, counted, time.monotonic() - start, faults)


def check_counts(network: str, counts: dict[str, Counts]) -> Row:
    """A network without a golden file."""
    start = time.monotonic()
    keras.backend.clear_session()
    counted = count(network)
    faults = differences(counted, counts[network])
    return Row("", network, "", None, None, None, counted, time.monotonic() - start, faults)


def differences(counted: Counts, wanted: Counts) -> list[str]:
    """Each number that is not the original's, in words."""
    pairs = zip(Counts._fields, counted, wanted, strict=True)
    return [f"{name} {ours:,}, the original has {theirs:,}" for name, ours, theirs in pairs if ours != theirs]


def worst(measured: golden.Golden, network: str, **options: Any) -> tuple[str, float, float]:
    """The level with the largest error, that error, and the largest one of the fused network."""
    model = golden.build(measured, network, **options)
    errors, fused = golden.errors(measured, model), golden.errors(measured, fuse(model))
    level = max(errors, key=errors.__getitem__)
    return level, errors[level], max(fused.values())


def count(network: str) -> Counts:
    """What a network with all its levels has."""
    with without_values():
        whole, without = (create(network, input_shape=(640, 640, 3), **options) for options in ({}, {"spp": False}))
    parameters = [
        sum(math.prod(variable.shape) for variable in model.trainable_variables) for model in (whole, without)
    ]
    return Counts(*parameters, macs(whole))


def table(rows: list[Row]) -> Table:
    """All rows, the failed ones in red."""
    columns = (
        "golden file",
        "network",
        "level",
        "float32",
        "fused",
        "float64",
        "parameters",
        "without top",
        "MACs",
        "seconds",
    )
    shown = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        errors = ["" if error is None else f"{error:.1e}" for error in (row.single, row.fused, row.double)]
        counted = [f"{count:,}" for count in row.counts] if row.counts else ["", "", ""]
        cells = (
            row.file or "none",
            row.network,
            row.level,
            *errors,
            *counted,
            f"{row.seconds:.1f}",
        )
        shown.add_row(*cells, style="red" if row.faults else None)
    return shown


if __name__ == "__main__":
    sys.exit(main())
