"""Write zoo/README.md and the family table of README.md: `python zoo/pages.py`.

Each fact has one place. A card, cards/<family>.toml, describes a family in words. Origins, licences and files are those
that the package itself shows. Numbers are what was measured on the originals, tests/data/originals.json; the tests
build every network and compare it with them.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from keras_yolo_backbones.families import FAMILIES, Family

HERE = Path(__file__).parent
MEASURED = json.loads((HERE.parent / "tests" / "data" / "originals.json").read_text(encoding="utf-8"))

LICENCES = {"LicenseRef-YOLO-2": "YOLO licence, free", "LicenseRef-YOLO-NAS": "non-commercial"}
"""SPDX identifiers that do not speak for themselves."""

BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"

HEAD = """\
# The zoo

Every network of the package; `python zoo/pages.py` writes this page. The words are those of the cards in
[cards/](cards), origins and files those of the package (`kyb info`, `kyb list`). The numbers were measured on the
originals; the tests build every network and compare it with them.

Parameters are the trainable ones with the context block on top, MACs are multiply-accumulates of one 640×640 image,
channels are those of P2, P3, … in this order, and the image size is what the original was trained on. Files are the
original's checkpoints as their authors published them, under the licence of the weights; this package ships none.
What weights take is what the original did to photographs; a model that loads them takes RGB in [0, 1] all the same.

"""


def cards() -> list[dict[str, Any]]:
    """Family by family: its card, its releases with their origins, and of each network what is known and measured."""
    return [
        tomllib.loads((HERE / "cards" / f"{name}.toml").read_text(encoding="utf-8"))
        | {"family": name, "release": [_release(family, key) for key in family.releases]}
        for name, family in FAMILIES.items()
    ]


def _release(family: Family, key: str) -> dict[str, Any]:
    release = family.releases[key]
    networks = [_network(family, key, size) for size in release.sizes]
    facts = vars(release.origin) | {
        "epsilon": release.style.epsilon,
        "preprocessing": str(release.preprocessing),
        "network": networks,
    }
    return ({"name": key} if key else {}) | facts


def _network(family: Family, release: str, size: str) -> dict[str, Any]:
    name = family.variant(size, release)
    return {"name": name, **vars(family.releases[release].facts(size)), **MEASURED[name]}


def page() -> str:
    """The text of zoo/README.md."""
    return HEAD + table() + "\n" + "\n".join(section(card) for card in cards())


def table() -> str:
    """One row a network."""
    lines = [
        "| network | parameters | MACs at 640 | channels | activation | image size | files |",
        "|---|--:|--:|---|---|--:|---|",
    ]
    for card in cards():
        for release in card["release"]:
            for network in release["network"]:
                cells = (
                    network["name"],
                    f"{network['parameters'] / 1e6:.2f} M",
                    f"{network['macs'] / 1e9:.2f} G",
                    " ".join(map(str, network["channels"])),
                    ", ".join(network["activations"]),
                    str(network["image_size"]),
                    ", ".join(network["files"]),
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def section(card: dict[str, Any]) -> str:
    """What a family is and where it comes from."""
    lines = [f"## {card['family']}", "", card["summary"], "", *card.get("notes", [])]
    lines += [""] if "notes" in card else []
    for release in card["release"]:
        name = f"Release {release['name']}: " if "name" in release else ""
        paper = f" “{release['paper']}”." if release["paper"] else ""
        lines.append(
            f"- {name}[{release['project']}]({release['url']}), version {release['version']}; "
            f"code {release['licence']}, weights {release['weights_licence']}; "
            f"batch norm epsilon {release['epsilon']:g}; weights take {release['preprocessing']}.{paper}"
        )
    return "\n".join(lines) + "\n"


def family_table() -> str:
    """One row a release: sizes, and from where to where parameters and cost go."""
    lines = [
        "| `kyb.` | release | sizes | parameters | MACs at 640 | own activation | licence of published weights |",
        "|---|---|---|--:|--:|---|---|",
    ]
    for card in cards():
        for index, release in enumerate(card["release"]):
            networks = release["network"]
            activations = dict.fromkeys(name for network in networks for name in network["activations"])
            cells = (
                f"`{card['family']}`",
                f"`{release['name']}`{', default' if index == 0 else ''}" if "name" in release else "",
                " ".join(network["name"].rsplit("-", 1)[1] for network in networks),
                _range([network["parameters"] / 1e6 for network in networks], "M"),
                _range([network["macs"] / 1e9 for network in networks], "G"),
                ", ".join(activations),
                LICENCES.get(release["weights_licence"], release["weights_licence"]),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _range(values: list[float], unit: str) -> str:
    return f"{min(values):.1f} … {max(values):.1f} {unit}"


def readme(text: str) -> str:
    """README.md with the family table between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{family_table()}{END}{after}"


def main() -> None:
    """Write both pages."""
    root = HERE.parent / "README.md"
    for path, text in ((HERE / "README.md", page()), (root, readme(root.read_text(encoding="utf-8")))):
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
