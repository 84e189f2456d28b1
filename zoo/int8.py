"""The int8 file of the smallest network of every family and release, with its operators: `make int8`.

    python zoo/int8.py ['damo-*' v13-n …] [--activations own relu6]

A row a network and activation: how long it takes to build at 640 pixels, the size of its file, the weakest agreement of
a level with the model in dB, the operators, and those of them that compute in float, of which there are to be none.
Weights are random, batch norms have the statistics of photographs; files are made at 64 pixels.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import keras
from conftest import crops
from pages import MEASURED
from quantized import small
from rich.console import Console
from rich.table import Table

from keras_yolo_backbones.export.tflite import export_tflite
from keras_yolo_backbones.families import FAMILIES
from keras_yolo_backbones.litert import operators
from keras_yolo_backbones.quiet import native_noise_hidden
from keras_yolo_backbones.registry import create, variants

INTEGER = {"INT8", "INT32"}
"""Element types of an int8 file: biases and shapes are 32 bits wide."""


class Row(NamedTuple):
    """What was found about one file.

    Attributes:
        network: its name.
        activation: `"own"`, or what replaces it.
        build_seconds: to build it for 640×640.
        kilobytes: of the file.
        least_db: signal to noise of the level that agrees least with the model.
        operators: name -> how many.
        floats: names of the operators that take or give anything but `INTEGER`.
    """

    network: str
    activation: str
    build_seconds: float
    kilobytes: float
    least_db: float
    operators: dict[str, int]
    floats: set[str]

    @property
    def said(self) -> str:
        """The operators in words, and which compute in float."""
        listed = ", ".join(f"{count} {name}" for name, count in self.operators.items())
        return f"{listed}; in float: {', '.join(sorted(self.floats)) or 'none'}"


def main(argv: list[str] | None = None) -> int:
    """Print the table; 0 if there is one and no operator in it computes in float, 1 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", help="names or patterns; the smallest of every release by default")
    parser.add_argument("--activations", nargs="+", default=["own", "relu6"])
    args = parser.parse_args(argv)
    known = [name for name in variants() if any(fnmatch.fnmatch(name, pattern) for pattern in args.networks)]
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows = []
    for name in known if args.networks else smallest():
        for activation in args.activations:
            with native_noise_hidden():
                rows.append(measured(name, activation))
            print(f"{rows[-1].network} {activation}: {rows[-1].said}", file=sys.stderr, flush=True)
    console.print(table(rows))
    bad = [f"{row.network} {row.activation}" for row in rows if row.floats]
    console.print(
        f"{len(rows) - len(bad)} of {len(rows)} files have no float operator{': not ' * bool(bad)}{', '.join(bad)}"
    )
    return 0 if rows and not bad else 1


def smallest() -> list[str]:
    """The network with the fewest parameters of each release of each family."""
    return [
        min((name for name, (own, _) in family.variants().items() if own == release), key=parameters)
        for family in FAMILIES.values()
        for release in family.releases
    ]


def parameters(name: str) -> int:
    """Of a network, as measured on its original."""
    return MEASURED[name]["parameters"]


def measured(name: str, activation: str) -> Row:
    """Build a network, make its int8 file, and look into that."""
    keras.backend.clear_session()
    own = None if activation == "own" else activation
    start = time.perf_counter()
    create(name, activation=own)
    seconds = time.perf_counter() - start
    photographs = crops()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        artifact = export_tflite(small(name, own, photographs), file, precision="int8", calibration=photographs)
        floats = {operator.name for operator in operators(file) if not INTEGER.issuperset(operator.kinds)}
        size = file.stat().st_size / 1e3
    found = artifact.manifest
    weakest = min(found["agreement"][level]["snr_db"] for level in found["outputs"])
    return Row(name, activation, seconds, size, weakest, found["operators"], floats)


def table(rows: list[Row]) -> Table:
    """The rows, to be printed."""
    shown = Table("network", "activation", box=None, pad_edge=False)
    for head in ("build, s", "kB", "dB"):
        shown.add_column(head, justify="right")
    shown.add_column("operators", overflow="fold")
    for row in rows:
        numbers = f"{row.build_seconds:.2f}", f"{row.kilobytes:.0f}", f"{row.least_db:.1f}"
        shown.add_row(row.network, row.activation, *numbers, row.said)
    return shown


if __name__ == "__main__":
    sys.exit(main())
