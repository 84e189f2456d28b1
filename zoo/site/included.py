"""Pages that lie elsewhere in the repository: where they come from, and their links within the site.

The site has the folders of the repository, so that a relative link in a page means the same in both.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

NAMES = {
    "Build a detector on it": "detector",
    "Original weights": "weights",
    "Quantization-aware training": "quantize",
    "Many devices, many images": "many",
    "Command line": "commands",
}
"""Section of README.md -> the name of its page, where that is not the section's title."""

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s:]*)(#[^)\s]*)?\)")
"""A link, not a picture, to a place without a scheme: its text, path and anchor."""

PICTURE = re.compile(r"!\[[^\]]*\]\(([^)#\s:]+)\)")


def readme() -> dict[str, tuple[str, str]]:
    """Page -> its title and text: README.md by its sections, the first of which are the start."""
    start, *sections = re.split(r"^## ", (ROOT / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    titles = {section.splitlines()[0]: section for section in sections}
    start += f"## {titles.pop('Install')}"
    pages = {"README.md": ("Start", start)}
    pages |= {f"{name_of(title)}.md": (title, f"# {text}") for title, text in titles.items()}
    anchors = {f"#{slug(title)}": f"{name_of(title)}.md" for title in titles}
    return {page: (title, to_pages(text, anchors)) for page, (title, text) in pages.items()}


def name_of(section: str) -> str:
    """The page of a section of README.md, without its ending."""
    return NAMES.get(section, slug(section))


def slug(title: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w]+", "-", title.lower()).strip("-")


def to_pages(text: str, anchors: dict[str, str]) -> str:
    """Links to sections of a text, which have become pages, lead to these pages."""
    return LINK.sub(
        lambda link: f"[{link[1]}]({anchors[link[3]]})" if link[3] in anchors and not link[2] else link[0], text
    )


def written(text: str) -> str:
    """A page of pages/: its links out of zoo/site/pages lead to the top of the site."""
    return text.replace("](../../../", "](")


def whole() -> list[str]:
    """Paths of the Markdown files that are pages as they are."""
    examples = sorted((ROOT / "examples").glob("*/README.md"))
    measured = sorted([*(ROOT / "tflite").glob("*.md"), *(ROOT / "zoo").glob("*.md")])
    return [*(file.relative_to(ROOT).as_posix() for file in (*examples, *measured)), "CONTRIBUTING.md", "CHANGELOG.md"]


def linked(path: str, text: str) -> set[str]:
    """Files of the repository, not Markdown, that a page shows or leads to."""
    targets = [link[2] for link in LINK.finditer(text)] + PICTURE.findall(text)
    places = {os.path.normpath(os.path.join(os.path.dirname(path), target)) for target in targets if target}
    return {place for place in places if (ROOT / place).is_file() and not place.endswith(".md")}


def without_folders(path: str, text: str) -> str:
    """Links to folders lead to their README, and where there is none only their text stays."""

    def mended(link: re.Match[str]) -> str:
        folder = ROOT / os.path.dirname(path) / link[2]
        if not link[2] or not folder.is_dir():
            return link[0]
        return f"[{link[1]}]({link[2].rstrip('/')}/README.md)" if (folder / "README.md").is_file() else link[1]

    return LINK.sub(mended, text)
