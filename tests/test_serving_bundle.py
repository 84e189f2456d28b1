"""SavedModels: signatures, versions, warm-up, server files, and the gate through the server's loader."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import time
import zlib

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, SIDE, disturbed
from tensorflow.core.protobuf import saved_model_pb2

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.tf_serving import saved_model as module
from keras_yolo_backbones.export.tf_serving import warmup
from keras_yolo_backbones.export.tf_serving.server import XLA_FLAGS
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.export.tf_serving.signatures import SIGNATURES, letterboxed
from keras_yolo_backbones.export.tf_serving.versions import versions
from keras_yolo_backbones.letterboxes import letterbox

LEVELS = {"P3": (8, 8, 64), "P4": (4, 4, 128), "P5": (2, 2, 256)}


@pytest.fixture(scope="module")
def bundle(model, tmp_path_factory):
    return kyb.export_saved_model(model, tmp_path_factory.mktemp("serving") / "v8n", batch_sizes=(1, 4))


@pytest.fixture(scope="module")
def session(bundle):
    with ServingSession(bundle.path) as loaded:
        yield loaded


def expected(model, pixels, scale=1 / 255):
    return {name: np.asarray(value) for name, value in model(pixels.astype(np.float32) * np.float32(scale)).items()}


def close(given, wanted, tolerance=5e-4):
    assert sorted(given) == sorted(wanted)
    for name, value in wanted.items():
        assert given[name].dtype == np.float32
        np.testing.assert_allclose(given[name], value, rtol=0, atol=tolerance * np.abs(value).max())


def test_floats_pixels_and_embedding_equal_the_model(model, session, photographs):
    wanted = expected(model, photographs[:3])
    floats = photographs[:3].astype(np.float32) / 255
    means = {name: value.mean((1, 2)) for name, value in wanted.items()}
    assert {name: value.shape for name, value in wanted.items()} == {n: (3, *shape) for n, shape in LEVELS.items()}
    close(session.run({"images": floats}), wanted)
    close(session.run({"images": photographs[:3]}, "uint8"), wanted)
    close(session.run({"images": floats}, "embedding"), means)


def test_files_equal_letterboxing_in_python(model, session, photographs):
    big = np.concatenate([np.concatenate([*photographs[:4]], 1), np.concatenate([*photographs[4:8]], 1)])
    images = [photographs[0], big[:, :201], photographs[1][:20, :33]]
    files = [tf.io.encode_png(image).numpy() for image in images]
    boxed = [letterbox(image, SIDE, SIDE) for image in images]
    wanted = expected(model, np.stack([box.image for box in boxed]))
    found = session.run({"image_bytes": files}, "encoded")
    np.testing.assert_array_equal(found.pop("scale"), np.float32([1, 64 / 201, 64 / 33]))
    np.testing.assert_array_equal(found.pop("padding"), [[0, 0], [11, 0], [12, 0]])
    close(found, wanted)
    means = {name: value.mean((1, 2)) for name, value in wanted.items()}
    close(session.run({"image_bytes": files}, "encoded_embedding"), means)


def test_letterboxing_in_graph_is_letterboxing_in_python_to_the_byte():
    random = np.random.default_rng(3)
    sizes = [(64, 64), (48, 64), (1, 1), (1, 200), (200, 1), (31, 63), (640, 427), (63, 65), (333, 97), (97, 331)]
    for frame in ((64, 64), (48, 80)):
        images = [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
        files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
        for image, *found in zip(images, *tf.function(letterboxed)(files, *frame), strict=True):
            wanted = letterbox(image, *frame)
            np.testing.assert_array_equal(found[0], wanted.image)
            assert float(found[1]) == np.float32(wanted.scale)
            assert found[2].numpy().tolist() == [wanted.top, wanted.left]
            assert found[3].numpy().tolist() == list(wanted.size)


def test_what_image_files_come_as(session, photographs):
    image = photographs[0]
    alpha = np.concatenate([image, np.full((SIDE, SIDE, 1), 200, np.uint8)], -1)
    files = [
        tf.io.encode_png(image.astype(np.uint16) * 257).numpy(),
        tf.io.encode_png(image).numpy(),
        tf.io.encode_png(alpha).numpy(),
        tf.io.encode_png(image[:, :, :1]).numpy(),
        tf.io.encode_jpeg(image, quality=95).numpy(),
    ]
    found = session.run({"image_bytes": files}, "encoded")["P3"]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[1], found[2])
    assert found.shape == (5, *LEVELS["P3"])
    with pytest.raises(kyb.ExportError, match="Unknown image file format"):
        session.run({"image_bytes": [files[0], b"no image"]}, "encoded")


def black_png(side: int) -> bytes:
    """A PNG of so many black pixels a side, one bit each."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((1 + -(-side // 8)) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("signature", ["encoded", "encoded_embedding"])
def test_a_bomb_fails_its_request_and_memory_stays_flat(session, photographs, signature):
    """20,000 pixels a side are 1.2 GB when they are decoded, and 50 kB before."""
    bomb, files = black_png(20_000), [tf.io.encode_png(photographs[0]).numpy()]
    assert len(bomb) < 100_000
    wanted = session.run({"image_bytes": files}, signature)["P5"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for batch in ([bomb], [*files, bomb]) * 10:
        with pytest.raises(kyb.ExportError, match=r"400000000. .pixels, more than"):
            session.run({"image_bytes": batch}, signature)
        np.testing.assert_array_equal(session.run({"image_bytes": files}, signature)["P5"], wanted)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
    assert session.run({"image_bytes": [black_png(1000)]}, signature)["P5"].shape[0] == 1


@pytest.mark.parametrize("signature", SIGNATURES)
def test_an_empty_batch_gives_empty_outputs(session, signature):
    empty = np.zeros((0, SIDE, SIDE, 3), np.uint8 if signature == "uint8" else np.float32)
    inputs = {"image_bytes": []} if "encoded" in signature else {"images": empty}
    found = session.run(inputs, signature)
    assert {value.shape[0] for value in found.values()} == {0}
    assert found["P5"].shape == ((0, 256) if "embedding" in signature else (0, *LEVELS["P5"]))


def test_a_model_that_divides_by_itself_is_fed_pixels(tmp_path, photographs):
    own = disturbed(kyb.v8("n", input_shape=(SIDE, SIDE, 3), include_rescaling=True))
    artifact = kyb.export_saved_model(own, tmp_path / "pixels", batch_sizes=(1,))
    wanted = expected(own, photographs[:1], 1)
    with ServingSession(artifact.path) as session:
        close(session.run({"images": photographs[:1]}, "uint8"), wanted)
        close(session.run({"images": photographs[:1].astype(np.float32)}), wanted)


def stored_graph(artifact):
    content = (artifact.path / "saved_model.pb").read_bytes()
    return saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def


def test_weights_are_stored_once_and_folded(model, bundle):
    graph = stored_graph(bundle)
    nodes = [node.op for function in graph.library.function for node in function.node_def]
    assert not {"FusedBatchNormV3", "ReadVariableOp", "Rsqrt"} & set(nodes)
    assert nodes.count("Conv2D") == sum("Conv2D" in type(layer).__name__ for layer in model.layers)
    weights = 4 * sum(int(np.prod(weight.shape)) for weight in kyb.fuse(model).weights)
    assert weights < bundle.size < weights + 450_000


def test_half_precision_gives_float32(model, tmp_path, photographs):
    folder = tmp_path / "half"
    for precision, bound in (("bfloat16", 12), ("float16", 30)):
        artifact = kyb.export_saved_model(
            model, folder, precision=precision, signatures=["serving_default"], batch_sizes=(1,)
        )
        assert artifact.manifest["precision"] == precision
        assert {output["dtype"] for output in artifact.manifest["outputs"].values()} == {"float32"}
        for level in LEVELS:
            assert bound < artifact.manifest["agreement"][level]["snr_db"] < 80
        with ServingSession(artifact.path) as session:
            found = session.run({"images": photographs[:1].astype(np.float32) / 255})
        assert {value.dtype for value in found.values()} == {np.dtype(np.float32)}


def test_xla_is_compiled_and_the_server_told(model, tmp_path):
    artifact = kyb.export_saved_model(model, tmp_path / "x", xla=True, signatures=["serving_default"], batch_sizes=(1,))
    graph = stored_graph(artifact)
    compiled = [function for function in graph.library.function if function.attr["_XlaMustCompile"].b]
    assert len(compiled) == 1
    assert set(XLA_FLAGS) < set(artifact.manifest["server"]["flags"])
    assert all(flag in (tmp_path / "x/server/serve.sh").read_text() for flag in XLA_FLAGS)
    (tmp_path / "x/server/compose.yaml").write_text("command: []\n")
    with pytest.raises(kyb.ArgumentError, match="xla_cpu_compilation_enabled"):
        kyb.export_saved_model(model, tmp_path / "x", xla=True)


def test_a_model_of_open_size_has_no_signatures_for_files_until_it_gets_one(tmp_path):
    own = kyb.v8("n", input_shape=(None, None, 3))
    artifact = kyb.export_saved_model(own, tmp_path / "open", batch_sizes=(1,))
    assert sorted(artifact.manifest["signatures"]) == ["embedding", "serving_default", "uint8"]
    with ServingSession(artifact.path) as session:
        assert session.run({"images": np.zeros((1, 96, 64, 3), np.float32)})["P4"].shape == (1, 6, 4, 128)
        assert session.run({"images": np.zeros((0, 96, 64, 3), np.float32)})["P4"].shape == (0, 6, 4, 128)
    with pytest.raises(kyb.ArgumentError, match="leaves its image size open"):
        kyb.export_saved_model(own, tmp_path / "open", signatures=["serving_default", "encoded"])
    sized = kyb.export_saved_model(own, tmp_path / "open", image_size=(32, 64), batch_sizes=(1,))
    assert sized.manifest["signatures"]["encoded"]["outputs"]["P3"]["shape"] == [None, 4, 8, 64]


def test_bad_arguments_leave_nothing(model, tmp_path):
    for options, message in (
        ({"version": 0}, "positive integer"),
        ({"version": True}, "positive integer"),
        ({"signatures": ["serving_default", "uint9"]}, "did you mean 'uint8'"),
        ({"signatures": ["uint8"]}, "every SavedModel has the signature 'serving_default'"),
        ({"batch_sizes": ()}, "positive integers"),
        ({"batch_sizes": range(1, 300)}, "at most 1000 warm-up requests"),
        ({"precision": "int8"}, "unknown precision"),
    ):
        with pytest.raises(kyb.ArgumentError, match=message):
            kyb.export_saved_model(model, tmp_path / "v8n", **options)
    with pytest.raises(kyb.ArgumentError, match="model's name at the server"):
        kyb.export_saved_model(model, tmp_path / "my model")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_network_that_differs_is_not_published(model, tmp_path, monkeypatch):
    other = disturbed(kyb.v8("n", activation="relu6", input_shape=(SIDE, SIDE, 3)), seed=1)
    monkeypatch.setattr(module, "fuse", lambda _: other)
    with pytest.raises(kyb.ExportError, match=r"v8n, \w+ does not follow the model"):
        kyb.export_saved_model(model, tmp_path / "v8n")
    assert list((tmp_path / "v8n").iterdir()) == []


def test_a_failing_warmup_request_is_not_published(model, tmp_path, monkeypatch):
    monkeypatch.setattr(warmup, "_grey", lambda *_: tf.make_tensor_proto(np.zeros((1, 8, 8, 3), np.float32)))
    with pytest.raises(kyb.ExportError, match="warm-up request 0 fails"):
        kyb.export_saved_model(model, tmp_path / "v8n", batch_sizes=(1,))
    assert list((tmp_path / "v8n").iterdir()) == []


def test_versions_count_up_and_never_change(model, tmp_path):
    folder = tmp_path / "v8n"
    (folder / "7").mkdir(parents=True)
    (folder / "latest").mkdir()
    quick = {"signatures": ["serving_default"], "batch_sizes": (1,)}
    assert kyb.export_saved_model(model, folder, **quick).path == folder / "8"
    assert kyb.export_saved_model(model, folder, version=3, **quick).path == folder / "3"
    for taken in (3, 7):
        with pytest.raises(kyb.ArgumentError, match=f"version {taken} of .* exists already"):
            kyb.export_saved_model(model, folder, version=taken)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (folder / "8").rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in [folder / "8", *(folder / "8").iterdir()] if path.is_dir()}
    assert (modes, folders) == ({0o644}, {0o755})


def test_an_exporter_that_comes_second_takes_the_next_version(model, tmp_path, monkeypatch):
    folder, replay = tmp_path / "v8n", module.replay_warmup

    def slow(session, temporary):
        replay(session, temporary)
        (folder / "1" / "variables").mkdir(parents=True)

    monkeypatch.setattr(module, "replay_warmup", slow)
    quick = {"signatures": ["serving_default"], "batch_sizes": (1,)}
    assert kyb.export_saved_model(model, folder, **quick).path.name == "2"
    (folder / "1" / "variables").rmdir()
    (folder / "1").rmdir()
    with pytest.raises(kyb.ArgumentError, match=r"version 1 of .* exists already"):
        kyb.export_saved_model(model, folder, version=1, **quick)
    assert sorted(entry.name for entry in folder.iterdir()) == ["1", "2", "server"]


def test_warmup_is_what_the_official_messages_read(bundle):
    from tensorflow_serving.apis import prediction_log_pb2

    path = bundle.path / "assets.extra" / "tf_serving_warmup_requests"
    records = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
    requests = [record.predict_log.request for record in records]
    found = {(request.model_spec.signature_name, *_shape(request)) for request in requests}
    files = {(name, "image_bytes", size) for name in ("encoded", "encoded_embedding") for size in (1, 4)}
    images = {(name, "images", n, SIDE, SIDE, 3) for name in ("serving_default", "uint8", "embedding") for n in (1, 4)}
    assert found == files | images
    assert {request.model_spec.name for request in requests} == {"v8n"}
    assert len(requests) == 10 == bundle.manifest["warmup"]["requests"]
    assert path.stat().st_size < 20_000
    grey = {float(tf.make_ndarray(r.inputs["images"]).mean()) for r in requests if "images" in r.inputs}
    assert sorted(grey) == pytest.approx([114 / 255, 114])


def test_each_signature_and_each_size_is_replayed_once(bundle, session, monkeypatch):
    run, seen = session.run, []

    def noted(inputs, signature):
        seen.append((signature, len(*inputs.values())))
        return run(inputs, signature)

    monkeypatch.setattr(session, "run", noted)
    assert warmup.replay_warmup(session, bundle.path) == len(seen) == 6
    assert {signature for signature, _ in seen} == set(SIGNATURES)
    assert {size for _, size in seen} == {1, 4}


def _shape(request):
    ((name, tensor),) = request.inputs.items()
    return name, *(side.size for side in tensor.tensor_shape.dim)


def test_server_files(bundle):
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    folder = bundle.path.parent / "server"
    models = text_format.Parse((folder / "models.config").read_text(), model_server_config_pb2.ModelServerConfig())
    (config,) = models.model_config_list.config
    assert (config.name, config.base_path, config.model_version_policy.latest.num_versions) == ("v8n", "/models/v8n", 1)
    assert "prometheus_config {\n  enable: true\n" in (folder / "monitoring.config").read_text()
    batching = (folder / "batching_params.pbtxt").read_text()
    assert "max_batch_size { value: 4 }" in batching
    assert batching.endswith("allowed_batch_sizes: 1\nallowed_batch_sizes: 4\n")
    assert os.access(folder / "serve.sh", os.X_OK)
    assert subprocess.run(["sh", "-n", folder / "serve.sh"], check=False).returncode == 0
    for starter in ("serve.sh", "compose.yaml"):
        assert all(flag in (folder / starter).read_text() for flag in bundle.manifest["server"]["flags"])


def test_serve_sh_starts_docker_on_the_models_folder(bundle, tmp_path):
    fake = tmp_path / "docker"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "REST_PORT": "9501"}
    script = bundle.path.parent / "server" / "serve.sh"
    said = subprocess.run([script, "--extra"], env=environment, capture_output=True, text=True, check=True, cwd="/")
    arguments = said.stdout.splitlines()
    assert arguments[:4] == ["run", "--rm", "--name", "v8n"]
    assert f"{bundle.path.parent}:/models/v8n:ro" in arguments
    assert {"8500:8500", "9501:8501"} < set(arguments)
    assert arguments[-6].startswith("tensorflow/serving:")
    assert arguments[-5:] == [*bundle.manifest["server"]["flags"], "--extra"]


def test_server_files_that_were_edited_stay(model, tmp_path):
    (tmp_path / "v8n" / "server").mkdir(parents=True)
    (tmp_path / "v8n" / "server" / "models.config").write_text("# mine\n")
    kyb.export_saved_model(model, tmp_path / "v8n", signatures=["serving_default"], batch_sizes=(1,))
    assert (tmp_path / "v8n" / "server" / "models.config").read_text() == "# mine\n"
    assert len(list((tmp_path / "v8n" / "server").iterdir())) == 5


def test_manifest(bundle):
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    assert manifest == bundle.manifest
    assert sorted(manifest["signatures"]) == sorted(SIGNATURES)
    encoded = manifest["signatures"]["encoded"]
    assert encoded["inputs"] == {"image_bytes": {"dtype": "string", "shape": [None]}}
    assert encoded["outputs"]["padding"] == {"dtype": "float32", "shape": [None, 2]}
    assert encoded["outputs"]["P5"] == {"dtype": "float32", "shape": [None, 2, 2, 256]}
    assert manifest["server"]["oldest_consumer"] <= 12
    assert manifest["server"]["graph_producer"] == tf.version.GRAPH_DEF_VERSION
    assert "server itself was not run" in manifest["server"]["run_in"]


def test_the_loader_refuses_what_the_server_would_refuse(tmp_path):
    with pytest.raises(kyb.ExportError, match="the session loader refuses"):
        ServingSession(tmp_path)


EXPORTER = """
    import os, signal, sys, time
    import keras_yolo_backbones as kyb
    from keras_yolo_backbones.export.tf_serving import saved_model as module
    from keras_yolo_backbones.export.tf_serving.versions import versions
    model = kyb.v8("n", input_shape=(32, 32, 3))
    {hook}
    print("ready", flush=True)
    while True:
        done = kyb.export_saved_model(model, sys.argv[1], signatures=["serving_default"], batch_sizes=(1,))
        print(done.path.name, flush=True)
        if len(sys.argv) > 2 and len(versions(module.check_directory(sys.argv[1]))) >= int(sys.argv[2]):
            break
"""


def exporter(folder, *arguments, hook=""):
    code = textwrap.dedent(EXPORTER.format(hook=hook))
    return subprocess.Popen(
        [sys.executable, "-c", code, folder, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def check_whole(folder, known=()):
    """Every version in the folder loads and runs, but those that are known to; returns all of them."""
    found = versions(folder)
    for version in sorted(set(found) - set(known)):
        assert json.loads((folder / str(version) / "manifest.json").read_text())["model"] == "v8-n"
        with ServingSession(folder / str(version)) as session:
            warmup.replay_warmup(session, folder / str(version))
    return found


def test_a_killed_exporter_leaves_no_version_and_the_next_one_cleans_up(tmp_path):
    folder = tmp_path / "v8n"
    hook = "module.write_manifest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    with exporter(folder, hook=hook) as process:
        process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    (left,) = folder.iterdir()
    assert left.name.startswith(".kyb-work-")
    assert (left / "version" / "saved_model.pb").exists()
    kyb.export_saved_model(kyb.v8("n", input_shape=(32, 32, 3)), folder, batch_sizes=(1,))
    assert sorted(entry.name for entry in folder.iterdir()) == ["1", "server"]
    assert check_whole(folder) == [1]


@pytest.mark.slow
def test_kills_at_any_moment(tmp_path):
    random, folder = np.random.default_rng(0), tmp_path / "v8n"
    with exporter(tmp_path / "timed", "1") as process:
        assert process.stdout.readline() == "ready\n"
        begin = time.monotonic()
        process.communicate()
    once, known = time.monotonic() - begin, []
    for _ in range(15):
        with exporter(folder) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0, 2 * once))
            process.kill()
        known = check_whole(folder, known) if folder.exists() else []
        hidden = [entry.name for entry in folder.iterdir() if entry.name.startswith(".")] if folder.exists() else []
        assert len(hidden) <= 2
        print(f"{len(known)} whole versions, {len(hidden)} leftovers")
    assert len(known) >= 3


@pytest.mark.slow
def test_two_exporters_at_once_get_two_versions(tmp_path):
    folder = tmp_path / "v8n"
    processes = [exporter(folder, "12") for _ in range(2)]
    published = [
        line for process in processes for line in process.communicate(timeout=300)[0].split() if line != "ready"
    ]
    assert [process.returncode for process in processes] == [0, 0]
    assert len(published) == len(set(published)) == len(check_whole(folder)) >= 12
