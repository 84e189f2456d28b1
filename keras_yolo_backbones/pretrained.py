"""A model as a folder, as it lies on the Hugging Face hub: Keras' files side by side, and a model card."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

import keras

from keras_yolo_backbones.arguments import check_model
from keras_yolo_backbones.errors import ArgumentError, CheckpointError, ExportError
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.files import check_directory, staged
from keras_yolo_backbones.graph.signature import image_input
from keras_yolo_backbones.levels import pyramid
from keras_yolo_backbones.provenance import Provenance, get_provenance
from keras_yolo_backbones.saving import load_model
from keras_yolo_backbones.version import __version__
from keras_yolo_backbones.work_folders import scratch

FILES = ("config.json", "metadata.json", "model.weights.h5")
"""What a `.keras` file holds; the folder has the same files, as those that Keras puts on the hub itself."""

CARD = "README.md"

HUB = "hf://"


def save_pretrained(model: keras.Model, folder: str | os.PathLike[str]) -> Path:
    """Write a model as a folder that can be put on the Hugging Face hub: weights, config, and a model card.

    The card says what the model returns, what images it takes, where its weights come from and under which licence.
    `hf upload user/name folder` puts it on the hub; `load_pretrained` opens it, from there or from here.

    Args:
        model: a functional model whose outputs are called after levels: a backbone, a detector on one.
        folder: is made; it must not exist. It appears whole or not at all.

    Returns:
        The folder.

    Raises:
        ArgumentError: `model` is no functional model, or has no levels.
        ExportError: the folder exists, or cannot be written.
    """
    check_model(model)
    card = model_card(model)
    target = Path(folder).absolute()
    if os.path.lexists(target):
        raise ExportError(f"{target} exists already; choose another folder.")
    check_directory(target.parent)
    with scratch() as work, staged(target) as temporary:
        model.save(work / "model.keras")
        temporary.mkdir()
        with zipfile.ZipFile(work / "model.keras") as archive:
            for name in FILES:
                archive.extract(name, temporary)
        (temporary / CARD).write_text(card, encoding="utf-8")
    return target


def load_pretrained(source: str | os.PathLike[str], *, compile: bool = False) -> keras.Model:
    """Open what `save_pretrained` wrote, or what Keras put on the hub.

        model = kyb.load_pretrained("hf://user/name")            # or "hf://user/name@v1.0", a branch, tag or commit
        model = kyb.load_pretrained("folder")

    What `load_model` says of a stranger's file holds here too.

    Args:
        source: a folder, or a repository on the hub (extra `hub`). The environment variable HF_ENDPOINT names a hub of
            your own; files stay in Hugging Face's cache.
        compile: see `load_model`.

    Raises:
        ArgumentError: the name of a repository is none, or the extra is missing.
        CheckpointError: no such folder or repository, or Keras cannot make a model of it.
    """
    text = os.fspath(source)
    folder = _downloaded(text.removeprefix(HUB)) if text.startswith(HUB) else Path(text)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(folder, f"it has no {' and no '.join(missing)}; expected what save_pretrained writes.")
    with scratch() as work:
        with zipfile.ZipFile(work / "model.keras", "w") as archive:
            for name in FILES:
                archive.write(folder / name, name)
        return load_model(work / "model.keras", compile=compile)


def _downloaded(name: str) -> Path:
    """The folder with the files of a repository, from the hub or from the cache."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@(.+))?", name)
    if not match:
        raise ArgumentError(f"{HUB}{name}: expected {HUB}user/name, or {HUB}user/name@revision.")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ArgumentError(f"{HUB} needs the extra `hub`: {how_to_install('hub')}.") from None
    revision, endpoint, folder = match[2], os.environ.get("HF_ENDPOINT"), Path()
    try:
        for file in FILES:
            folder = Path(hf_hub_download(match[1], file, revision=revision, endpoint=endpoint)).parent
            revision = folder.name  # the commit that the first file is of: a branch may move on meanwhile
        return folder
    except Exception as error:  # of several libraries, and they change
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(Path(name), f"the hub did not give it: {reason[0]}") from error


def model_card(model: keras.Model) -> str:
    """The text of the card: a header that the hub reads, levels, images, origin and licence."""
    provenance = get_provenance(model)
    image = image_input(model)
    size = "×".join("any" if side is None else str(side) for side in image.shape)
    rows = [f"| {level.name} | {level.stride} | {level.channels} |" for level in pyramid(model)]
    return "\n".join(
        [
            "---",
            *_licence(provenance),
            "library_name: keras",
            "pipeline_tag: image-feature-extraction",
            "tags: [keras, yolo, backbone]",
            "---",
            "",
            f"# {model.name}",
            "",
            f"A Keras model, saved with keras_yolo_backbones {__version__}. Images: {size}, {image.preprocessing}.",
            "",
            "| output | stride | channels |",
            "|---|--:|--:|",
            *rows,
            "",
            "```python",
            "import keras_yolo_backbones as kyb",
            "",
            'model = kyb.load_pretrained("hf://user/name")  # where you put it',
            "```",
            "",
            "## Origin of the weights",
            "",
            *_origin(provenance),
            "",
        ]
    )


def _licence(provenance: Provenance | None) -> list[str]:
    """The licence, as the hub writes it: small letters, or `other` with a name."""
    if provenance is None:
        return ["license: unknown"]
    if provenance.licence.startswith("LicenseRef-") or " " in provenance.licence:
        return ["license: other", f"license_name: {provenance.licence.removeprefix('LicenseRef-').lower()}"]
    return [f"license: {provenance.licence.lower()}"]


def _origin(provenance: Provenance | None) -> list[str]:
    if provenance is None:
        return ["They were not loaded from a file: random, or trained from scratch."]
    rows = [
        f"- network: {provenance.network}",
        f"- original project: {provenance.project or 'unknown'}",
        f"- file: `{provenance.file}`, sha256 `{provenance.sha256}`",
        f"- licence of the published weights: {provenance.licence}",
    ]
    claims = [f"- the file says of itself, unchecked: {key} `{text}`" for key, text in provenance.claims]
    return [*rows, *claims, "", "If they were trained on since, the licence of the original holds for the result too."]
