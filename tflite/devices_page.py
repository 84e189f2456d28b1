"""devices.md and devices.png from the rows of devices.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HEAD = """\
# Networks on devices

Written by `make devices` from what the tools say of int8 files with random weights: Arm's compiler Vela for Ethos-U,
TFLite Micro's interpreter, and LiteRT for XNNPACK, with the forms of the default target. `devices.json` has more of it,
with the date of each row, the versions of the tools, and the operators that XNNPACK leaves.

- **U55, U85**: Vela's estimate in ms for an Ethos-U55 with 128 or 256 multiply-accumulates a cycle at 500 MHz and an
  Ethos-U85 with 512 at 1 GHz, in the systems that Vela assumes by default. Vela says itself that it is an estimate; use
  it to compare networks. Where operators stay on the CPU, their time is not in it; their number is after a `+`.
- **U55 SRAM**: what Vela plans on an Ethos-U55-256, activations and scratch.
- **arena**: of TFLite Micro, with all that it keeps; "–" at 640, where it was not run, and where it refuses the file.
- **XNNPACK**: the share of the operators, and in how many parts.

![time against multiply-accumulates](devices.png)
"""
COLUMNS = (
    "| network | MB | MACs, M | U55-128 | U55-256 | U85-512 | U55 SRAM, kB | arena, kB | XNNPACK |\n|---|" + "--:|" * 8
)


COLOR = "#1f5fa8"
TARGETS = ("ethos-u55-256", "ethos-u85-512")
"""What is drawn."""


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

    figure = Figure(figsize=(13, 8), layout="constrained")
    for axes, target in zip(figure.subplots(1, 2), TARGETS, strict=True):
        some = [row for row in rows if row["side"] == side]
        for row in some:
            filled = "none" if row["activation"] == "own" else COLOR
            axes.plot(
                row[target]["macs"] / 1e6, row[target]["ms"], "o", color=COLOR, markerfacecolor=filled, markersize=6
            )
        for x, low, high in pairs(some, target):
            axes.plot([x, x], [low, high], color=COLOR, linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel="multiply-accumulates, millions", ylabel="ms, by Vela")
        axes.margins(x=0.15)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(FormatStrFormatter("%g"))
            axis.set_minor_formatter(NullFormatter())
        axes.set_title(f"{target}, {side}×{side}; full: ReLU6, hollow: own activation", fontsize=10)
        axes.grid(True, which="both", linewidth=0.3)
    figure.draw_without_rendering()  # where points are is known after that
    for axes, target in zip(figure.axes, TARGETS, strict=True):
        label(axes, [row for row in rows if row["side"] == side], target)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def label(axes: Any, rows: list[dict[str, Any]], target: str) -> None:
    """Names of the points with ReLU6 where they cover neither a point nor a name; together where two points are one."""
    places = [(row[target]["macs"] / 1e6, row[target]["ms"]) for row in rows]
    marks = [axes.transData.transform(place) for place in places]
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in marks]
    points: dict[tuple[int, int], list[int]] = {}
    for index, row in enumerate(rows):
        if row["activation"] == "relu6":
            points.setdefault((round(marks[index][0] / 3), round(marks[index][1] / 3)), []).append(index)
    scale = axes.figure.dpi / 72
    for here in sorted(points.values(), key=lambda found: -len(found)):
        text = ", ".join(rows[index]["network"] for index in here)
        x, y = marks[here[0]]
        for dx, dy, side in OFFSETS:
            left = x + scale * dx - (5 * scale * len(text) if side == "right" else 0)
            box = left, y + scale * dy, left + 5 * scale * len(text), y + scale * (dy + FONT)
            if not any(covers(box, other) for other in taken):
                break
        taken.append(box)
        axes.annotate(text, places[here[0]], xytext=(dx, dy), textcoords="offset points", fontsize=FONT, ha=side)


FONT = 8
OFFSETS = [(dx, dy, side) for dy in (-3, 5, -11, 14, -20) for dx, side in ((6, "left"), (-6, "right"))]
"""Where a name may be, in points from its point, the best first."""


def covers(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether two boxes (left, bottom, right, top) have a place in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def pairs(rows: list[dict[str, Any]], target: str) -> list[tuple[float, float, float]]:
    """(MACs, ms with ReLU6, ms with the family's activation) of each network that has both."""
    by_key = {(row["network"], row["activation"]): row[target] for row in rows}
    names = dict.fromkeys(row["network"] for row in rows)
    both = [(by_key.get((name, "relu6")), by_key.get((name, "own"))) for name in names]
    return [(one["macs"] / 1e6, one["ms"], other["ms"]) for one, other in both if one and other]
