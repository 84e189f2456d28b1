"""Pictures: a figure to draw on, and what each set of measures of a search reaches and costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.files import staged

if TYPE_CHECKING:
    from keras_yolo_backbones.quantization.budget import Budget


def new_figure(width: float, height: float) -> Any:
    """A figure of matplotlib, in inches; `ArgumentError` if that is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ArgumentError(f"a plot needs matplotlib: {how_to_install('plots')}.") from None
    return Figure(figsize=(width, height), layout="constrained")


def draw_frontier(budget: Budget, path: Path) -> None:
    """Draw the weakest level against latency, or against MACs left in float where no latency was measured."""
    timed = all(point.milliseconds is not None for point in budget.points)
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    places = [float(point.milliseconds or 0) if timed else 100 * point.float_macs for point in budget.points]
    for point, place in zip(budget.points, places, strict=True):
        axes.plot([place], [point.weakest], marker="o", color="tab:green" if point is budget.chosen else "tab:blue")
        right = place > (min(places) + max(places)) / 2
        axes.annotate(
            point.measures,
            (place, point.weakest),
            xytext=(-7 if right else 7, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=8,
        )
    axes.axhline(budget.least_db, linestyle=":", color="tab:red", label=f"asked for: {budget.least_db:g} dB")
    axes.set(
        xlabel="latency of the file, ms" if timed else "multiply-accumulates in float, %",
        ylabel="SNR of the weakest level, dB",
        title=f"what each set of measures reaches; chosen (green): {budget.chosen.measures}",
    )
    axes.legend(loc="lower right")
    with staged(Path(path)) as temporary:
        figure.savefig(temporary)
