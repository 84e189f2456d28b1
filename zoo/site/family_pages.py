"""A page a family: its picture, networks, origins, checkpoints, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pages
from catalogue_data import rows

import keras_yolo_backbones as kyb
from keras_yolo_backbones.families import FAMILIES
from keras_yolo_backbones.fragile import without_values


def family_pages() -> dict[str, str]:
    """Page -> its text."""
    catalogue = rows()
    return {
        f"families/{card['family']}.md": text(card, [row for row in catalogue if row["family"] == card["family"]])
        for card in pages.cards()
    }


def text(card: dict[str, Any], networks: list[dict[str, Any]]) -> str:
    """The page of one family."""
    name = card["family"]
    parts = [
        pages.section(card).replace("## ", "# ", 1),
        f'```python\nmodel = kyb.{name}("{FAMILIES[name].default_size}")\n```\n',
        f"## Networks\n\n{table(networks)}",
        "Arenas are those of int8 files with ReLU6 in TFLite Micro; after ~ predicted, not measured.\n",
        f"![the network from the images down]({name}.svg)\n\nDrawn by `kyb.draw` from `{smallest(networks)}`.\n",
        measured(networks),
        f"## In full\n\n```text\n{FAMILIES[name].__doc__.strip()}\n```\n",
    ]
    return "\n".join(parts)


def table(networks: list[dict[str, Any]]) -> str:
    """One row a network; files are the original's checkpoints that fit."""
    lines = [
        "| network | parameters | MACs at 640 | channels from P2 | arena at 192 | licence of weights | checkpoints |",
        "|---|--:|--:|---|--:|---|---|",
    ]
    for row in networks:
        cells = (
            f"`{row['name']}`",
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['macs'] / 1e9:.2f} G",
            " ".join(map(str, row["channels"])),
            arena(row),
            row["licence"],
            ", ".join(row["files"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def arena(row: dict[str, Any]) -> str:
    """kB as measured, or after ~ as predicted."""
    found = row["measured"].get("relu6", {}).get("arena")
    return f"{'' if found else '~'}{row['arena'] / 1e3:.0f} kB" if row["arena"] else "–"


def measured(networks: list[dict[str, Any]]) -> str:
    """What the tools said of the int8 file at 192×192; the page of devices says how."""
    lines = [
        "## Measured",
        "",
        "The int8 file at 192×192; [devices](../tflite/devices.md) says how, and has larger sizes.",
        "",
        "| network | activation | operators | MB | Ethos-U55-256 | Ethos-U85-512 | XNNPACK takes |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in networks:
        for activation, found in row["measured"].items():
            npus = [f"{found[f'{npu}_ms']:.1f} ms, {found[f'{npu}_share']:.0%}" for npu in ("u55", "u85")]
            xnnpack = f"{found['xnnpack_share']:.1%}"
            sizes = f"{found['operators']} | {found['bytes'] / 1e6:.1f}"
            lines.append(f"| `{row['name']}` | {activation} | {sizes} | {' | '.join(npus)} | {xnnpack} |")
    return "\n".join(lines) + "\n"


def smallest(networks: list[dict[str, Any]]) -> str:
    """The smallest network of a family's first release, whose names have no release in them."""
    return min(networks, key=lambda row: (row["name"].count("-"), row["macs"]))["name"]


def pictures(folder: Path) -> dict[str, Path]:
    """Page's path of each picture -> the file, drawn into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    catalogue, drawn = rows(), {}
    for family in FAMILIES:
        name = smallest([row for row in catalogue if row["family"] == family])
        with without_values():
            drawn[f"families/{family}.svg"] = kyb.draw(kyb.create(name), folder / f"{family}.svg")
    return drawn
