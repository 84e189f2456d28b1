"""What MkDocs calls: the pages that lie beside what they describe, those made of data, and the navigation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from keras_yolo_backbones.quiet import native_noise_hidden

with native_noise_hidden():  # TensorFlow logs when it is imported
    import api_pages
    import catalogue_page
    import family_pages
    import included
    from included import ROOT

GUIDE = ("build", "detector", "weights", "fuse", "export", "quantize", "serve", "many", "commands")
"""Sections of README.md in the guide; others follow after them."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation."""
    sections = [name for name in included.readme() if name not in ("README.md", "families.md", "licence.md")]
    guide = sorted(sections, key=lambda page: GUIDE.index(page[:-3]) if page[:-3] in GUIDE else len(GUIDE))
    whole = included.whole()
    families = [{path.split("/")[1].removesuffix(".md"): path} for path in family_pages.family_pages()]
    config.nav = [
        {"Start": "README.md"},
        {"Catalogue": "catalogue.html"},
        {"Guide": guide},
        {"Families": ["families.md", *families, "zoo/README.md"]},
        {"Devices": [path for path in whole if path.startswith("tflite/")]},
        {"Examples": [path for path in whole if path.startswith("examples/")]},
        {"API": [{title: path} for path, (title, _) in api_pages.api_pages().items()]},
        {"Measured": ["measured.md", *(path for path in whole if path.startswith("zoo/") and path != "zoo/README.md")]},
        {"Project": ["decisions.md", "CONTRIBUTING.md", "CHANGELOG.md", "licence.md"]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """All files that do not lie in pages/."""
    texts = {path: text for path, (_, text) in (included.readme() | api_pages.api_pages()).items()}
    texts |= {path: (ROOT / path).read_text("utf-8") for path in included.whole()} | family_pages.family_pages()
    for path, text in texts.items():
        files.append(File.generated(config, path, content=included.without_folders(path, text)))
    copied = {place for path, text in texts.items() for place in included.linked(path, text)}
    for place in sorted(copied):
        files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    with native_noise_hidden():
        pictures = family_pages.pictures(ROOT / "build" / "pictures")
    for path, file in pictures.items():
        files.append(File.generated(config, path, abs_src_path=str(file)))
    files.append(File.generated(config, "catalogue.html", content=catalogue_page.page(home="index.html")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The links of the pages in pages/."""
    return included.written(markdown)


def on_page_context(context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """No link to edit a page: most of them are made from others."""
    context["page"].edit_url = None
    return context


def on_post_build(config: MkDocsConfig) -> None:
    """Where to look. Browsers run the script that searches only where a server sends it."""
    folder = Path(config.site_dir)
    print(f"Open {folder / 'index.html'}; with a search: python -m http.server --directory {folder}")
