"""What `zoo/benchmark.py` prints and draws of its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from rich.console import Console
from rich.table import Table

REFERENCE = "tflite float32"
"""The form that times are relative to."""

INT8 = {"tflite int8": "tflite float32", "onnxruntime int8": "onnxruntime", "openvino int8": "openvino"}
"""Form -> the same in float."""


def report(console: Console, results: dict[str, Any]) -> None:
    """Print the tables."""
    machine = results["machine"]
    console.print(f"{machine['processor']}, {machine['threads']} threads")
    if imports := results.get("import"):
        console.print(
            f"import: the package adds {imports['added_seconds'] * 1e3:.0f} ms to Keras' "
            f"{imports['keras_seconds']:.1f} s ({imports['ratio']:.3f} of it), its builders "
            f"{imports['builders_seconds'] * 1e3:.0f} ms more on first use"
        )
    for name, seconds in results["build_seconds"].items():
        console.print(f"build {name}: {seconds:.2f} s")
    for name, forms in results["latency"].items():
        console.print()
        console.print(latency_table(name, forms))
        console.print(f"int8 takes of the time of float: {int8_of_float(forms)}")
    for name, shares in results["features"].items():
        text = ", ".join(f"{kind} files {share:.2f}" for kind, share in shares.items())
        console.print(f"features with {name}, throughput relative to the bare model loop: {text}")


def latency_table(name: str, forms: dict[str, dict[str, float]]) -> Table:
    """The forms of one network, the fastest first; times as shares of TFLite float32, and the shortest as it is."""
    heads = "shortest", "median", "spread", "of peak", "shortest"
    table = Table(box=None, pad_edge=False)
    table.add_column(name, no_wrap=True)
    for head in heads:
        table.add_column(head, justify="right")
    for form, latency in sorted(forms.items(), key=lambda item: item[1]["least_ratio"]):
        table.add_row(
            form,
            f"{latency['least_ratio']:.2f}",
            f"{latency['ratio']:.2f}",
            f"{latency['spread']:.0%}",
            f"{latency['peak_share']:.2f}",
            f"{latency['least'] * 1e3:.1f} ms",
        )
    return table


def int8_of_float(forms: dict[str, dict[str, float]]) -> str:
    """The shortest round in int8 against the shortest in float, in each runtime."""
    found = {form: forms[form]["least"] / forms[plain]["least"] for form, plain in INT8.items() if form in forms}
    return ", ".join(f"{form.removesuffix(' int8')} {share:.2f}" for form, share in found.items())


def draw(results: dict[str, Any], path: Path) -> Path:
    """A bar for each form, grouped by network, relative to TFLite float32."""
    networks = results["latency"]
    least: dict[str, float] = {}
    for found in networks.values():
        for form, latency in found.items():
            least.setdefault(form, latency["least_ratio"])
    forms = sorted(least, key=lambda form: least[form])
    figure, axis = plt.subplots(figsize=(9, 0.5 * len(forms) + 1.5), layout="constrained")
    height = 0.8 / len(networks)
    for row, (name, found) in enumerate(networks.items()):
        own = [(index, found[form]["least_ratio"]) for index, form in enumerate(forms) if form in found]
        bars = axis.barh([index + row * height for index, _ in own], [share for _, share in own], height, label=name)
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    axis.set_yticks([index + 0.4 - height / 2 for index in range(len(forms))], forms)
    axis.invert_yaxis()
    axis.set_xlabel(f"time for one image, relative to {REFERENCE} of the same network (lower is faster)")
    axis.set_title(f"{results['machine']['processor']}, {results['machine']['threads']} threads")
    axis.legend()
    axis.margins(x=0.1)
    figure.savefig(path, dpi=100)
    return path
