"""Write zoo/README.md and the family table of README.md from the cards: `python zoo/catalogue.py`.

A card, cards/<family>.toml, says what is known of a family's originals; the tests hold every line of it against the
package, so that neither can change alone.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ORDER = ("v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v26", "yolox")

BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"

HEAD = """\
# The zoo

Every network of the package, from the cards in [cards/](cards); `python zoo/catalogue.py` writes this page. What the
package itself knows of a network, and shows in `kyb info` and `kyb list`, stands in `keras_yolo_backbones/families`.
The tests build every network and hold each line of its card against it, so that neither can change alone.

Parameters are the trainable ones with the context block on top, MACs are multiply-accumulates of one 640×640 image,
channels are those of P2, P3, … in this order, and the image size is what the original was trained on. Files are the
original's checkpoints as their authors published them, under the licence of the weights; this package ships none.

"""


def cards() -> list[dict[str, Any]]:
    """All cards, family by family."""
    return [tomllib.loads((HERE / "cards" / f"{family}.toml").read_text(encoding="utf-8")) for family in ORDER]


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
    lines = [f"## {card['family']}", "", card["summary"], ""]
    for release in card["release"]:
        name = f"Release {release['name']}: " if "name" in release else ""
        paper = f" “{release['paper']}”." if release["paper"] else ""
        lines.append(
            f"- {name}[{release['project']}]({release['url']}), version {release['version']}; "
            f"code {release['licence']}, weights {release['weights_licence']}; "
            f"batch norm epsilon {release['epsilon']:g}.{paper}"
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
                release["weights_licence"].replace("LicenseRef-YOLO-2", "YOLO licence, free"),
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
