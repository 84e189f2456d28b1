"""Write the catalogue, one HTML file that needs nothing else: `python zoo/site/catalogue_page.py [FILE]`.

Every network in a table to sort and filter, and in a plot. The page works from a file as from a server.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    from catalogue_data import rows

HERE = Path(__file__).parent
TARGET = HERE.parents[1] / "build" / "catalogue.html"
PARTS = {"css": "catalogue.css", "logic": "catalogue.js", "page": "catalogue_page.js"}


def page(home: str | None = None) -> str:
    """The whole page; with `home`, a link to the pages that it belongs to."""
    parts = {name: (HERE / file).read_text("utf-8") for name, file in PARTS.items()}
    parts["data"] = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows()) + "\n]"
    parts["data"] = parts["data"].replace("</", "<\\/")  # would end the script
    parts["errors"] = "{:+.0%} to {:+.0%}".format(*errors())
    parts["home"] = f'<p><a href="{home}">← all pages</a></p>' if home else ""
    text = (HERE / "catalogue.html").read_text("utf-8")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def errors() -> tuple[float, float]:
    """How far predicted arenas are from those that were measured, as shares: the lowest and the highest."""
    both = [(row["predicted"], row["measured"].get("relu6", {}).get("arena")) for row in rows()]
    found = [predicted / arena - 1 for predicted, arena in both if predicted and arena]
    return min(found), max(found)


def main() -> None:
    """Write the page and say where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=TARGET)
    target = parser.parse_args().file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(), "utf-8")
    sys.stdout.write(f"{target}\n")


if __name__ == "__main__":
    main()
