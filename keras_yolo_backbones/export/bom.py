"""A bill of materials of an artifact, in CycloneDX: the model, where its weights come from, and what made it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from keras_yolo_backbones.errors import ArgumentError
from keras_yolo_backbones.export.manifest import Artifact
from keras_yolo_backbones.extras import how_to_install
from keras_yolo_backbones.files import staged

_SUFFIX = ".cdx.json"


def write_bom(artifact: Artifact) -> Path:
    """Write what an artifact's manifest says as a CycloneDX 1.6 machine-learning bill of materials.

    Args:
        artifact: from an exporter.

    Returns:
        The file: beside the artifact, with `.cdx.json` added to its name.

    Raises:
        ArgumentError: the extra `bom` is not installed.
        ExportError: the file cannot be written.
    """
    require_cyclonedx()
    from cyclonedx.output.json import JsonV1Dot6

    text = JsonV1Dot6(_bom(artifact.manifest)).output_as_string(indent=2)
    target = artifact.path.with_name(f"{artifact.path.name}{_SUFFIX}")
    with staged(target) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return target


def require_cyclonedx() -> None:
    """Raise `ArgumentError` unless the extra `bom` is installed."""
    try:
        import cyclonedx  # noqa: F401
    except ImportError:
        raise ArgumentError(f"a bill of materials needs cyclonedx-python-lib: {how_to_install('bom')}.") from None


def _bom(manifest: dict[str, Any]) -> Any:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType

    said = {key: manifest[key] for key in ("format", "precision")}
    said |= {f"input.{key}": manifest["input"][key] for key in ("name", "shape", "dtype")}
    said |= {f"output.{name}": output["shape"] for name, output in manifest["outputs"].items()}
    origin = manifest.get("weights") or {}
    model = Component(
        name=manifest["model"],
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        hashes=_hashes(manifest["sha256"]["file"]),
        licenses=_licences(origin.get("licence")),
        properties=[Property(name=f"keras_yolo_backbones:{key}", value=str(value)) for key, value in said.items()],
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, manifest["sha256"]["file"]))
    bom.metadata.component = model
    parts = [_package(name, version) for name, version in manifest["versions"].items()]
    for weights in filter(None, [manifest.get("weights"), *manifest.get("other_weights", ())]):
        parts.append(_weights(weights))
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(model, parts)
    return bom


def _package(name: str, version: str) -> Any:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name = name.replace("_", "-")
    url = PackageURL("pypi", None, name, version)
    return Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=str(url), purl=url)


def _weights(origin: dict[str, Any]) -> Any:
    """The file that the weights were read from."""
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name=origin["file"],
        type=ComponentType.DATA,
        bom_ref=f"weights:{origin['sha256']}",
        description=f"{origin['network']} of {origin['project'] or 'an unknown project'}",
        hashes=_hashes(origin["sha256"]),
        licenses=_licences(origin["licence"]),
    )


def _hashes(sha256: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []


def _licences(text: str | None) -> list[Any]:
    """An SPDX identifier where it is one, otherwise the name as it is."""
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.spdx import is_supported_id

    if not text:
        return []
    return [DisjunctiveLicense(id=text) if is_supported_id(text) else DisjunctiveLicense(name=text)]
