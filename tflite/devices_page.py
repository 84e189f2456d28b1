"""devices.md and devices.png from the rows of devices.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HEAD = """\
# Networks on devices

Written by `make devices` from what the tools say of int8 files with random weights: Arm's compiler Vela for Ethos-U,
TFLite Micro's interpreter, and LiteRT for XNNPACK. `devices.json` has more of it, with the date of
each row and the versions of the tools. Of the second sizes, and of attention at 640, not every row has been measured;
`make devices` measures those that are missing.

- **U55, U85**: Vela's estimate in ms for an Ethos-U55 with 128 or 256 multiply-accumulates a cycle at 500 MHz and an
  Ethos-U85 with 512 at 1 GHz, in the systems that Vela assumes by default. Vela says itself that it is an estimate; use
  it to compare networks. Where operators stay on the CPU, their time is not in it; their number is after a `+`.
- **U55 SRAM**: what Vela plans on an Ethos-U55-256, activations and scratch.
- **arena**: of TFLite Micro, with all that it keeps; "–" where it was not run.
- **XNNPACK**: the share of the operators, and in how many parts.

![time against multiply-accumulates](devices.png)
"""
COLUMNS = (
    "| network | MB | MACs, M | U55-128 | U55-256 | U85-512 | U55 SRAM, kB | arena, kB | XNNPACK |\n|---|" + "--:|" * 8
)


COLOR = "#1f5fa8"


def page(rows: list[dict[str, Any]]) -> str:
    """The whole page."""
    parts = [HEAD]
    for side in sorted({row["side"] for row in rows}):
        lines = [line(row) for row in rows if row["side"] == side]
        parts += [f"## {side}×{side}\n", "\n".join([COLUMNS, *lines]) + "\n"]
    return "\n".join(parts)


def line(row: dict[str, Any]) -> str:
    """One network in one activation."""
    cells = [f"{row['network']} {row['activation']}", f"{row['mb']:.1f}", f"{row['ethos-u55-256']['macs'] / 1e6:.0f}"]
    for target in ("ethos-u55-128", "ethos-u55-256", "ethos-u85-512"):
        left = row["operators"] - row[target]["taken"]
        cells.append(f"{row[target]['ms']:.1f}" + (f" + {left}" if left else ""))
    arena = (row["micro"] or {}).get("arena_total_bytes")
    cells += [f"{row['ethos-u55-256']['sram_bytes'] / 1e3:.0f}", f"{arena / 1e3:.0f}" if arena else "–"]
    share = row["xnnpack"]["taken"] / row["operators"]
    cells.append(f"{share:.0%}, {row['xnnpack']['parts']}" if share < 1 else "100%")
    return f"| {' | '.join(cells)} |"


def plot(rows: list[dict[str, Any]], path: Path, side: int = 192) -> None:
    """Vela's time against multiply-accumulates: whole points with ReLU6, hollow ones with the family's activation."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    for axes, target in zip(figure.subplots(1, 2), ("ethos-u55-256", "ethos-u85-512"), strict=True):
        some = [row for row in rows if row["side"] == side]
        for row in some:
            filled = "none" if row["activation"] == "own" else COLOR
            axes.plot(
                row[target]["macs"] / 1e6, row[target]["ms"], "o", color=COLOR, markerfacecolor=filled, markersize=6
            )
        for x, low, high in pairs(some, target):
            axes.plot([x, x], [low, high], color=COLOR, linewidth=0.8)
        label(axes, [row for row in some if row["activation"] == "relu6"], target)
        axes.set(xscale="log", yscale="log", xlabel="multiply-accumulates, millions", ylabel="ms, by Vela")
        axes.margins(x=0.15)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{target}, {side}×{side}; full: ReLU6, hollow: own activation", fontsize=10)
        axes.grid(True, which="both", linewidth=0.3)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def label(axes: Any, rows: list[dict[str, Any]], target: str) -> None:
    """Names beside the points; to the left where the right is taken, together where two points are one."""
    points: dict[tuple[float, float], list[dict[str, Any]]] = {}
    for row in rows:
        place = round(row[target]["macs"] / 1e6), round(row[target]["ms"], 1)
        points.setdefault(place, []).append(row)
    taken: list[tuple[float, float]] = []
    for _, here in sorted(points.items(), key=lambda point: point[0], reverse=True):
        x, y = here[0][target]["macs"] / 1e6, here[0][target]["ms"]
        left = any(abs(x / other - 1) < 0.3 and abs(y / height - 1) < 0.06 for other, height in taken)
        if not left:
            taken.append((x, y))
        axes.annotate(
            ", ".join(row["network"] for row in here),
            (x, y),
            xytext=(-6 if left else 6, -3),
            textcoords="offset points",
            fontsize=8,
            ha="right" if left else "left",
        )


def pairs(rows: list[dict[str, Any]], target: str) -> list[tuple[float, float, float]]:
    """(MACs, ms with ReLU6, ms with the family's activation) of each network that has both."""
    by_key = {(row["network"], row["activation"]): row[target] for row in rows}
    names = dict.fromkeys(row["network"] for row in rows)
    both = [(by_key.get((name, "relu6")), by_key.get((name, "own"))) for name in names]
    return [(one["macs"] / 1e6, one["ms"], other["ms"]) for one, other in both if one and other]
