"""A picture of a network, drawn from the model itself: its parts from the images down, their maps, and its levels."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import keras

from keras_yolo_backbones.files import check_file_target, staged
from keras_yolo_backbones.graph.cost import macs
from keras_yolo_backbones.graph.parts import Part, parts_of

ROW, BOX = 52, 34
"""Height of a row and of the box in it, in pixels."""

LEFT, MIDDLE, LEVELS, TEXT = 84, 250, 420, 560
"""Where sizes end, boxes have their middle, and levels and contents begin."""

LETTER = 6.9
"""Width of a small letter, generously."""

TOP = 64

COLOURS = ("#e8edf3", "#d3e4f5", "#b5d5f0", "#93c3e6", "#6fadd8", "#4a93c6", "#2f79af", "#1f5f92")
"""Of a box, by how often its map was halved."""

STYLE = """\
text { font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; fill: #1d2733 }
.title { font-size: 19px; font-weight: 600 }
.small { font-size: 12px; fill: #52606d }
.name { font-size: 13px; font-weight: 600 }
.count { font-size: 12px }
.light { fill: #ffffff }
.line { stroke: #8593a3; stroke-width: 1.4; fill: none }
.level { fill: #fff3d6; stroke: #d9992b }"""


def draw(model: keras.Model, path: str | os.PathLike[str]) -> Path:
    """Write a picture of a network: its parts from the images down, the size of each map, and what it returns.

        kyb.draw(kyb.v8("s"), "v8s.svg")

    A box is a part (stem, stage, block on top) with its output channels; it is narrower the smaller its map is. To the
    right are the levels and the layers of the part. Parts that take tensors from others than the one above have curves
    on the left.

    Args:
        model: any functional model with a fixed image size: a backbone, fused or not, a detector on one.
        path: ends in .svg; an older file is replaced in one step.

    Returns:
        The file.

    Raises:
        ArgumentError: `model` is no functional model.
        GraphError: its image size is open.
        ExportError: the name does not end in .svg, or the file cannot be written.
    """
    picture = svg(model)
    target = check_file_target(path, ".svg")
    with staged(target) as temporary:
        temporary.write_text(picture, encoding="utf-8")
    return target


def svg(model: keras.Model) -> str:
    """The text of the picture."""
    parts = parts_of(model)
    height = TOP + ROW * len(parts) + 12
    width = round(TEXT + max(28, *(len(part.contents) for part in parts)) * LETTER + 16)
    parameters = sum(part.parameters for part in parts)
    facts = (
        f"{parameters / 1e6:.2f} M parameters, {macs(model) / 1e9:.2f} G multiply-accumulates. "
        "Left: height×width of the maps; in the boxes: their channels."
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(model.name)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        _text(16, 30, model.name, "title"),
        _text(16, 50, facts, "small"),
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto-start-reverse"><path d="M0 0.8 L7 4 L0 7.2 z" fill="#8593a3"/></marker></defs>',
        *_edges(parts),
        *(line for at, part in enumerate(parts) for line in _row(parts, at, part)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _row(parts: list[Part], at: int, part: Part) -> Iterator[str]:
    """One part: size of its map, box, levels, contents."""
    middle, half, halvings = _middle(at), _half_width(parts, at), _halvings(parts, at)
    height, width, channels = part.size
    yield _text(LEFT, middle + 4, f"{height}×{width}", "small", anchor="end")
    yield (
        f'<rect x="{MIDDLE - half:g}" y="{middle - BOX / 2:g}" width="{2 * half:g}" height="{BOX}" rx="5" '
        f'fill="{COLOURS[min(halvings, len(COLOURS) - 1)]}"/>'
    )
    light = " light" if halvings > 4 else ""
    yield _text(MIDDLE - half + 9, middle + 5, part.name, f"name{light}")
    yield _text(MIDDLE + half - 9, middle + 5, str(channels), f"count{light}", anchor="end")
    for place, (name, size) in enumerate(part.outputs.items()):
        x, y = LEVELS, middle - 11 + 24 * place
        yield _arrow(f"M{MIDDLE + half:g} {middle:g} L{x - 4} {y + 11:g}")
        yield f'<rect class="level" x="{x}" y="{y:g}" width="124" height="22" rx="11"/>'
        yield _text(x + 62, y + 15, f"{name}  {'×'.join(map(str, size))}", "small", anchor="middle")
    yield _text(TEXT, middle + 4, part.contents, "small")


def _edges(parts: list[Part]) -> Iterator[str]:
    """From each part to those that take its tensors: straight to the next one, a curve on the left to others."""
    for at, part in enumerate(parts):
        for source in (place for place in part.sources if place < at):
            start, end = _middle(source) + BOX / 2, _middle(at) - BOX / 2
            if source == at - 1:
                yield _arrow(f"M{MIDDLE} {start:g} L{MIDDLE} {end - 1:g}")
                continue
            left, right = MIDDLE - _half_width(parts, source), MIDDLE - _half_width(parts, at)
            bulge = max(LEFT + 6, min(left, right) - 14 - 5 * (at - source))
            bends = f"C{bulge:g} {start:g} {bulge:g} {end:g} {right - 2:g} {end + BOX / 2:g}"
            yield _arrow(f"M{left:g} {start - BOX / 2:g} {bends}")


def _arrow(path: str) -> str:
    return f'<path class="line" d="{path}" marker-end="url(#tip)"/>'


def _middle(at: int) -> float:
    return TOP + ROW * at + ROW / 2


def _halvings(parts: list[Part], at: int) -> int:
    """How often the map of a part was halved."""
    return max(0, round(math.log2(parts[0].size[0] / parts[at].size[0])))


def _half_width(parts: list[Part], at: int) -> float:
    return max(62, 138 - 13 * _halvings(parts, at))


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(words)}</text>'
