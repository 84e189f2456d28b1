"""The clients, against small servers that speak the official protocols over the official loader."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, SIDE
from prediction_service import PredictionService, grpc_server, rest_server

import keras_yolo_backbones as kyb
from keras_yolo_backbones.export.tf_serving.session import ServingSession
from keras_yolo_backbones.serving.reply import arrays

sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return kyb.export_saved_model(model, tmp_path_factory.mktemp("serving") / "v8n", batch_sizes=(1,))


@pytest.fixture(scope="module")
def session(artifact):
    with ServingSession(artifact.path) as loaded:
        yield loaded


@pytest.fixture
def service(session):
    return PredictionService(session, "v8n")


@pytest.fixture
def client(service):
    with grpc_server(service) as target, kyb.serving.Client(target, model="v8n", timeout=30) as connected:
        yield connected


def expected(model, pixels):
    return model.predict_on_batch(pixels.astype(np.float32) / 255)


def close(given, wanted):
    assert sorted(given) == sorted(wanted)
    for name, value in wanted.items():
        assert given[name].dtype == np.float32
        np.testing.assert_allclose(given[name], value, rtol=0, atol=5e-4 * np.abs(value).max())


def test_arrays_and_files_in_levels_out(client, model, photographs):
    wanted = expected(model, photographs[:2])
    close(client(photographs[:2].astype(np.float32) / 255), wanted)
    close(client(photographs[:2].astype(np.float64) / 255), wanted)
    close(client(photographs[:2]), wanted)
    found = client([tf.io.encode_png(image).numpy() for image in photographs[:2]])
    assert found.pop("scale").tolist() == [1, 1]
    assert found.pop("padding").tolist() == [[0, 0], [0, 0]]
    close(found, wanted)
    means = client(photographs[:2].astype(np.float32) / 255, signature="embedding")
    close(means, {name: value.mean((1, 2)) for name, value in wanted.items()})


@pytest.mark.parametrize("batch", [0, 1, 8, 32])
def test_batches(client, model, photographs, batch):
    pixels = np.concatenate([photographs, photographs])[:batch]
    found = client(pixels)
    assert found["P5"].shape == (batch, 2, 2, 256)
    if batch:
        close(found, expected(model, pixels))


def test_an_empty_list_of_files(client):
    assert client([])["P4"].shape == (0, 4, 4, 128)


def test_chosen_outputs(client, photographs):
    assert list(client(photographs[:1], outputs=["P4"])) == ["P4"]


def test_signatures(client):
    found = client.signatures()
    assert found["uint8"]["images"] == ("uint8", (None, SIDE, SIDE, 3))
    assert found["encoded"]["image_bytes"] == ("string", (None,))
    assert found["embedding"]["P3"] == ("float32", (None, 64))
    assert len(found) == 5


@pytest.mark.parametrize(
    ("images", "options", "code", "message"),
    [
        (np.zeros((1, 32, 64, 3), np.uint8), {}, "INVALID_ARGUMENT", "32"),
        (np.zeros((1, 64, 64, 4), np.uint8), {}, "INVALID_ARGUMENT", "4"),
        (np.zeros((1, 64, 64, 3), np.uint8), {"signature": "serving_default"}, "INVALID_ARGUMENT", "float"),
        (np.zeros((1, 64, 64, 3), np.uint8), {"signature": "uint9"}, "FAILED_PRECONDITION", '"uint9" not found'),
        (np.zeros((1, 64, 64, 3), np.uint8), {"outputs": ["P6"]}, "INVALID_ARGUMENT", "P6"),
        (np.zeros((1, 64, 64, 3), np.uint8), {"signature": "encoded"}, "INVALID_ARGUMENT", "images"),
        ([b"no image"], {}, "INVALID_ARGUMENT", "Unknown image file format"),
    ],
)
def test_what_the_server_refuses(client, service, images, options, code, message):
    with pytest.raises(kyb.ServingError, match="model 'v8n' at localhost:") as caught:
        client(images, **options)
    assert caught.value.code == code
    assert message in str(caught.value)
    assert service.calls == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((64, 64, 3), np.uint8), r"a batch .* not an array of the shape \(64, 64, 3\)"),
        (np.zeros((1, 64, 64, 3), np.int64), "images are int64"),
        (b"file", "not the bytes of one file"),
        (["photo.jpg"], "list of bytes"),
        (None, "not NoneType"),
        ("photo.jpg", "not str"),
        (7, "not int"),
        ({"images": b"file"}, "not dict"),
    ],
)
def test_what_the_client_refuses(client, service, images, message):
    with pytest.raises(kyb.ArgumentError, match=message):
        client(images)
    assert service.calls == 0


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "10", True])
def test_a_timeout_is_a_positive_number(client, service, photographs, timeout):
    with pytest.raises(kyb.ArgumentError, match=r"timeout .*: expected a positive number of seconds"):
        client(photographs[:1], timeout=timeout)
    with pytest.raises(kyb.ArgumentError, match="timeout"):
        kyb.serving.Client("localhost:9", "v8n", timeout=timeout)
    assert service.calls == 0


@pytest.mark.parametrize("options", [{"retries": -1}, {"retries": 5}, {"retries": True}, {"max_reply_bytes": 0}])
def test_bad_options_of_the_client(options):
    (name,) = options
    with pytest.raises(kyb.ArgumentError, match=f"^{name} .*: expected"):
        kyb.serving.Client("localhost:9", "v8n", **options)


def test_a_generator_of_files(client, photographs):
    files = (tf.io.encode_png(image).numpy() for image in photographs[:2])
    assert client(files)["P5"].shape == (2, 2, 2, 256)


def test_bad_outputs_and_signatures(client, service, photographs):
    for options in ({"outputs": [7]}, {"outputs": [None]}, {"signature": 7}):
        with pytest.raises(kyb.ArgumentError, match="no request can be made of this"):
            client(photographs[:1], **options)
    assert service.calls == 0


def test_a_closed_client(client, photographs):
    client.close()
    with pytest.raises(kyb.ServingError, match=r"model 'v8n' at localhost:\d+: Cannot invoke RPC .*closed"):
        client(photographs[:1])


def reply(**changes):
    """A right output for two images, changed."""
    tensor = tf.make_tensor_proto(np.zeros((2, 3), np.float32))
    for name, value in changes.items():
        if name == "shape":
            tensor.tensor_shape.CopyFrom(tf.TensorShape([]).as_proto())
            for size in value:
                tensor.tensor_shape.dim.add(size=size)
        elif name == "unknown_rank":
            tensor.tensor_shape.unknown_rank = value
        else:
            setattr(tensor, name, value)
    return tensor


def test_a_right_reply():
    found = arrays({"P5": reply()}, wanted=["P5"], batch=2, max_bytes=24)
    assert found["P5"].shape == (2, 3)
    tensor = tf.make_tensor_proto(7.0)
    tensor.tensor_shape.CopyFrom(tf.TensorShape([2, 2]).as_proto())
    assert arrays({"P5": tensor}, wanted=[], batch=2, max_bytes=99)["P5"].tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (reply(dtype=99), "unknown type: 99"),
        (reply(dtype=0), "unknown type|expected numbers"),
        (reply(dtype=tf.string.as_datatype_enum), "is string; expected numbers"),
        (reply(dtype=tf.variant.as_datatype_enum), "is variant; expected numbers"),
        (reply(dtype=tf.qint8.as_datatype_enum), "is qint8; expected numbers"),
        (reply(dtype=tf.float64.as_datatype_enum), r"does not hold the 6 numbers of its shape \(2, 3\)"),
        (reply(tensor_content=b"short"), "does not hold the 6 numbers"),
        (reply(tensor_content=b""), "does not hold the 6 numbers"),
        (reply(shape=(2, -3)), r"has the shape \(2, -3\)"),
        (reply(shape=(-2, -3)), r"has the shape \(-2, -3\)"),
        (reply(shape=(3, 2)), r"has the shape \(3, 2\); 2 images were sent"),
        (reply(shape=()), r"has the shape \(\); 2 images"),
        (reply(unknown_rank=True), "has the shape"),
        (reply(shape=(2, 2**28)), "has more than 1000 bytes; max_reply_bytes=… sets another limit"),
        (reply(shape=(2, 2**62, 2**62)), "has more than 1000 bytes"),
    ],
)
def test_damaged_replies(tensor, message):
    with pytest.raises(kyb.ServingError, match=message) as caught:
        arrays({"P5": tensor}, wanted=["P5"], batch=2, max_bytes=1000)
    assert "\n" not in str(caught.value)


def test_a_reply_that_lacks_an_output(client, service, monkeypatch, photographs):
    with pytest.raises(kyb.ServingError, match="the reply lacks P4; it has P5"):
        arrays({"P5": reply()}, wanted=["P5", "P4"], batch=2, max_bytes=1000)
    monkeypatch.setattr(service.session, "run", lambda *_: {})
    with pytest.raises(kyb.ServingError, match=r"model 'v8n' at localhost:.* the reply lacks any output"):
        client(photographs[:1])


def test_a_limit_on_the_reply(service, photographs):
    with grpc_server(service) as target, kyb.serving.Client(target, "v8n", max_reply_bytes=20_000) as client:
        assert client(photographs[:1], outputs=["P5"])["P5"].nbytes == 4096
        with pytest.raises(kyb.ServingError, match="has more than 20000 bytes"):
            client(photographs[:1])
        with pytest.raises(kyb.ServingError, match="RESOURCE_EXHAUSTED"):
            client(photographs[:8])


def test_large_requests_are_repeated_too(client, service, photographs):
    def before(context):
        if service.calls == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    service.before = before
    pixels = np.concatenate([photographs] * 8).astype(np.float32) / 255
    assert pixels.nbytes > 2**22
    assert client(pixels, outputs=["P5"])["P5"].shape == (128, 2, 2, 256)
    assert service.calls == 2


def test_another_model(service, photographs):
    with grpc_server(service) as target, kyb.serving.Client(target, model="v8s") as client:
        with pytest.raises(kyb.ServingError, match="a model of this name") as caught:
            client(photographs[:1])
        assert caught.value.code == "NOT_FOUND"


def test_only_unavailable_is_retried(client, service, photographs):
    def fail(code, times):
        def before(context):
            if service.calls <= times:
                context.abort(code, "not now")

        service.calls, service.before = 0, before

    fail(grpc.StatusCode.UNAVAILABLE, 2)
    assert client(photographs[:1])["P5"].shape == (1, 2, 2, 256)
    assert service.calls == 3
    fail(grpc.StatusCode.UNAVAILABLE, 9)
    with pytest.raises(kyb.ServingError, match="UNAVAILABLE: not now"):
        client(photographs[:1])
    assert service.calls == 4
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED):
        fail(code, 9)
        with pytest.raises(kyb.ServingError, match=f"{code.name}: not now"):
            client(photographs[:1])
        assert service.calls == 1


def test_the_deadline_holds_over_all_attempts(client, service, photographs):
    service.before = lambda _: time.sleep(2)
    start = time.monotonic()
    with pytest.raises(kyb.ServingError, match="timeout=") as caught:
        client(photographs[:1], timeout=0.3)
    assert caught.value.code == "DEADLINE_EXCEEDED"
    assert 0.25 < time.monotonic() - start < 1.5
    assert service.calls == 1


def test_no_server(photographs):
    start = time.monotonic()
    client = kyb.serving.Client("localhost:9", model="v8n", timeout=1)
    with client, pytest.raises(kyb.ServingError, match="Is the server running") as caught:
        client(photographs[:1])
    assert caught.value.code == "UNAVAILABLE"
    assert time.monotonic() - start < 1.5


def load(target, model, photographs, clients, seconds):
    """Several clients at once, each with batches of its own; counts of calls, images, and answers that were wrong."""
    wanted = expected(model, photographs)
    counts = np.zeros((clients, 3), int)

    def run(number):
        random = np.random.default_rng(number)
        end = time.monotonic() + seconds
        with kyb.serving.Client(target, model="v8n", timeout=60) as client:
            while time.monotonic() < end:
                chosen = random.integers(0, len(photographs), random.choice([1, 2, 8]))
                found = client(photographs[chosen])
                wrong = any(
                    not np.allclose(found[name], value[chosen], rtol=0, atol=5e-4 * np.abs(value).max())
                    for name, value in wanted.items()
                )
                counts[number] += 1, len(chosen), wrong

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def test_clients_at_once_get_their_own_answers(service, model, photographs):
    with grpc_server(service) as target:
        counts = load(target, model, photographs, clients=4, seconds=2)
    calls, _, wrong = counts.sum(0)
    assert counts[:, 0].min() > 0
    assert (service.calls, wrong) == (calls, 0)


@pytest.mark.slow
def test_eight_clients_for_a_minute(service, model, photographs):
    with grpc_server(service) as target:
        counts = load(target, model, photographs, clients=8, seconds=60)
    calls, images, wrong = counts.sum(0)
    print(f"{calls} calls, {images} images, {wrong} wrong, {service.calls - calls} lost")
    assert (service.calls, wrong) == (calls, 0)
    assert counts[:, 0].min() > 20


def test_without_the_extra_the_client_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(kyb.ServingError, match=r"pip install 'tensorflow-serving-api"):
        kyb.serving.Client("localhost:8500", model="v8n")


def test_the_rest_client(session, model, photographs, tmp_path, capsys):
    import serving_client

    wanted = expected(model, photographs[:2])
    with rest_server(session, "v8n") as url:
        close(serving_client.predict(url, "v8n", photographs[:2]), wanted)
        close(serving_client.predict(url, "v8n", photographs[:2].astype(np.float32) / 255), wanted)
        means = {name: value.mean((1, 2)) for name, value in wanted.items()}
        files = [tf.io.encode_png(image).numpy() for image in photographs[:2]]
        close(serving_client.predict(url, "v8n", files, signature="encoded_embedding"), means)
        for model_name, signature, message in (
            ("v8s", None, "HTTP 404: Servable not found"),
            ("v8n", "uint9", 'HTTP 400: Serving signature key "uint9" not found'),
        ):
            with pytest.raises(serving_client.ServingError, match=message):
                serving_client.predict(url, model_name, photographs[:1], signature=signature)
        (tmp_path / "photo.png").write_bytes(files[0])
        serving_client.main([url, "v8n", str(tmp_path / "photo.png")])
    assert "P5 (256,)" in capsys.readouterr().out
    with pytest.raises(serving_client.ServingError, match="no server"):
        serving_client.predict("http://localhost:9", "v8n", photographs[:1], timeout=1)


@pytest.mark.slow
def test_the_rest_client_against_kserve(artifact, model, photographs):
    """KServe pins other packages than this project: KSERVE_PYTHON names an interpreter that has both."""
    import serving_client

    interpreter = os.environ.get("KSERVE_PYTHON")
    if not interpreter:
        pytest.skip("KSERVE_PYTHON names no interpreter that has KServe and TensorFlow")
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    command = [interpreter, ROOT / "tests" / "kserve_server.py", artifact.path, "v8n", str(port)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    url, wanted = f"http://localhost:{port}", expected(model, photographs[:2])
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(240):
                try:
                    first = serving_client.predict(url, "v8n", photographs[:2])
                    break
                except serving_client.ServingError:
                    assert process.poll() is None
                    time.sleep(0.5)
            close(first, wanted)
            files = [tf.io.encode_png(image).numpy() for image in photographs[:2]]
            means = {name: value.mean((1, 2)) for name, value in wanted.items()}
            close(serving_client.predict(url, "v8n", files, signature="encoded_embedding"), means)
            for batch in (1, 8, 32):
                pixels = np.concatenate([photographs, photographs])[:batch]
                close(serving_client.predict(url, "v8n", pixels, timeout=60), expected(model, pixels))
            for arguments, message in (
                (("v8s", photographs[:1], None), "HTTP 404"),
                (("v8n", photographs[:1], "uint9"), 'HTTP 400: .*"uint9" not found'),
                (("v8n", photographs[:1, :32], None), "HTTP 400: signature 'uint8'"),
            ):
                name, pixels, signature = arguments
                with pytest.raises(serving_client.ServingError, match=message):
                    serving_client.predict(url, name, pixels, signature=signature)
        finally:
            process.terminate()
