"""What is said about an artifact to those who did not make it: its bill of materials, and its signature."""

from __future__ import annotations

import json

import pytest

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.export.bom import write_bom
from keras_yolo_backbones.export.manifest import Artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, model):
    return kyb.export_saved_model(model, tmp_path_factory.mktemp("serving") / "v8n", batch_sizes=(1,))


def test_the_bill_of_materials(artifact):
    origin = {"file": "yolov8n.pt", "sha256": "ab" * 32, "network": "v8-n", "project": "Ultralytics"}
    origin["licence"] = "AGPL-3.0"
    manifest = artifact.manifest | {"weights": origin | {"format": "torch"}}
    path = write_bom(Artifact(artifact.path, manifest))
    assert path == artifact.path.with_name("1.cdx.json")
    bom = json.loads(path.read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    model = bom["metadata"]["component"]
    assert (model["type"], model["name"]) == ("machine-learning-model", "v8-n")
    assert model["hashes"] == [{"alg": "SHA-256", "content": manifest["sha256"]["file"]}]
    assert model["licenses"] == [{"license": {"id": "AGPL-3.0"}}]
    said = {one["name"]: one["value"] for one in model["properties"]}
    assert said["keras_yolo_backbones:input.shape"] == "[None, 64, 64, 3]"
    parts = {part["bom-ref"]: part for part in bom["components"]}
    assert parts[f"weights:{'ab' * 32}"]["name"] == "yolov8n.pt"
    assert f"pkg:pypi/tensorflow@{manifest['versions']['tensorflow']}" in parts
    (dependencies,) = [one["dependsOn"] for one in bom["dependencies"] if one["ref"] == "model"]
    assert sorted(dependencies) == sorted(parts)


def test_a_licence_that_is_no_identifier_stays_as_it_is(artifact):
    manifest = artifact.manifest | {
        "weights": {"file": "a", "sha256": "", "network": "v3", "project": "", "licence": "YOLO licence, free"}
    }
    bom = json.loads(write_bom(Artifact(artifact.path, manifest)).read_text())
    assert bom["metadata"]["component"]["licenses"] == [{"license": {"name": "YOLO licence, free"}}]


def test_the_command_writes_it(tmp_path):
    assert main(["export", "v8-n", "--image-size", "32", "--format", "onnx", "--out", str(tmp_path), "--bom"]) == 0
    bom = json.loads((tmp_path / "v8-n.onnx.cdx.json").read_text())
    digest = json.loads((tmp_path / "v8-n.onnx.json").read_text())["sha256"]["file"]
    assert bom["metadata"]["component"]["hashes"][0]["content"] == digest


def test_a_signed_version_is_verified_and_a_changed_one_is_not(artifact, tmp_path):
    """With the extra `signing` and a key of one's own; nothing of it is in the version folder."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from model_signing import signing, verifying

    private, public, signature = (tmp_path / name for name in ("key.pem", "key.pub", "v8n.sig"))
    key = ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    signing.Config().use_elliptic_key_signer(private_key=private).sign(artifact.path, signature)

    def verify():
        verifying.Config().use_elliptic_key_verifier(public_key=public).verify(artifact.path, signature)

    verify()
    manifest = artifact.path / "manifest.json"
    content = manifest.read_text()
    manifest.write_text(content.replace("float32", "float64"))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        verify()
    manifest.write_text(content)
    verify()
