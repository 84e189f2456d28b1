"""Features of many images: right numbers, errors in a side table, restartable, independent of how it was run."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, SIDE
from golden import relative_error
from pyarrow import parquet
from sklearn.datasets import load_sample_image

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.features import run as module
from keras_yolo_backbones.features.extract import Extractor, bare_loop
from keras_yolo_backbones.features.parquet import read_mark
from keras_yolo_backbones.letterboxes import letterbox


@pytest.fixture(scope="module")
def small():
    import keras

    keras.utils.set_random_seed(0)
    return kyb.v8("n", input_shape=(SIDE, SIDE, 3), levels=("P4", "P5"))


@pytest.fixture(scope="module")
def folder(photographs, tmp_path_factory):
    """23 images of several sizes, in two folders; three files that are none."""
    root = tmp_path_factory.mktemp("images")
    (root / "more").mkdir()
    for index in range(23):
        image = np.tile(photographs[index % 16], (1 + index % 2, 1, 1))[:, : 64 - index]
        name = f"{index:02d}.png" if index % 3 else f"more/{index:02d}.jpg"
        content = tf.io.encode_png(image) if index % 3 else tf.io.encode_jpeg(image, quality=95)
        (root / name).write_bytes(content.numpy())
    (root / "05a.jpg").write_bytes(b"no image")
    (root / "05b.jpg").write_bytes(b"")
    (root / "99.png").write_bytes((root / "22.png").read_bytes()[:150])
    return root


def rows(out):
    """Path -> level -> features, from all shards; and path -> error."""
    features, errors = {}, {}
    for file in sorted(out.glob("features-*.parquet")):
        table = parquet.read_table(file)
        for row in table.to_pylist():
            path = row.pop("path")
            features[path] = {level: np.float32(value) for level, value in row.items()}
    for file in sorted(out.glob("errors-*.parquet")):
        errors |= {row["path"]: row["error"] for row in parquet.read_table(file).to_pylist()}
    return features, errors


@pytest.fixture(scope="module")
def made(small, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("features")
    progress = []
    summary = kyb.extract_features(
        small, folder, out, shard_size=7, batch_size=4, progress=lambda *args: progress.append(args)
    )
    return out, summary, progress


def test_every_image_is_a_row_or_an_error(made, folder):
    out, summary, progress = made
    assert summary == (23, 3, 4, 0)
    features, errors = rows(out)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(features) | set(errors) == names
    assert set(errors) == {"05a.jpg", "05b.jpg", "99.png"}
    assert all("is no readable image" in error for error in errors.values())
    assert [parquet.read_metadata(file).num_rows for file in sorted(out.glob("features-*"))] == [5, 7, 6, 5]
    assert sorted(file.name for file in out.glob("errors-*")) == ["errors-000000.parquet", "errors-000002.parquet"]
    assert progress[-1] == (26, 26)


def test_features_are_the_models_means(made, small, folder):
    features, _ = rows(made[0])
    for name in ("01.png", "more/03.jpg", "20.png"):
        pixels = tf.io.decode_image((folder / name).read_bytes(), 3).numpy()
        frame = letterbox(pixels, SIDE, SIDE).image[np.newaxis].astype(np.float32) / 255
        for level, value in small.predict_on_batch(frame).items():
            wanted = value.mean((0, 1, 2))
            np.testing.assert_allclose(features[name][level], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    schema = parquet.read_schema(made[0] / "features-000001.parquet")
    assert [str(field.type) for field in schema] == [
        "string",
        "fixed_size_list<element: float>[128]",
        "fixed_size_list<element: float>[256]",
    ]


def test_a_rerun_makes_what_is_missing_to_the_byte(made, small, folder):
    out, _, _ = made
    contents = {path.name: path.read_bytes() for path in out.iterdir()}
    assert kyb.extract_features(small, folder, out, shard_size=7, batch_size=4) == (0, 0, 0, 4)
    (out / "features-000002.parquet").unlink()
    (out / "features-000000.parquet").unlink()
    (out / "errors-000000.parquet").unlink()
    assert kyb.extract_features(small, folder, out, shard_size=7, batch_size=4) == (11, 3, 2, 2)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == contents


def test_another_order_of_shards_gives_the_same_bytes(made, small, folder, tmp_path):
    mark = read_mark(made[0] / "features-000001.parquet")
    job = module.make_job(folder, tmp_path, 7)
    conditions = {key: value for key, value in mark["job"].items() if key not in job.everything()}
    job = dataclasses.replace(job, conditions=conditions)
    assert [done.shard for done in Extractor(small, batch_size=4).run(job, [3, 1])] == [3, 1]
    for shard in (3, 1):
        assert job.features_file(shard).read_bytes() == (made[0] / f"features-{shard:06d}.parquet").read_bytes()


def test_reduced_decoding_is_part_of_the_job(small, tmp_path):
    large = tmp_path / "large"
    large.mkdir()
    for index, name in enumerate(("china.jpg", "flower.jpg")):
        (large / f"{index}.jpg").write_bytes(tf.io.encode_jpeg(load_sample_image(name), quality=95).numpy())
    kyb.extract_features(small, large, tmp_path / "whole", batch_size=2)
    kyb.extract_features(small, large, tmp_path / "reduced", batch_size=2, reduced_decoding=True)
    whole, reduced = (rows(tmp_path / name)[0] for name in ("whole", "reduced"))
    for name, levels in whole.items():
        for level, values in levels.items():
            assert 0 < relative_error(reduced[name][level], values) < 0.1
    for name, wanted in (("whole", True), ("reduced", False)):
        with pytest.raises(kyb.ArgumentError, match="reduced_decoding"):
            kyb.extract_features(small, large, tmp_path / name, batch_size=2, reduced_decoding=wanted)


def test_another_job_is_not_mixed_in(made, small, folder):
    for options, differs in (
        ({"pool": "max"}, "pool"),
        ({"shard_size": 8}, "shard_size"),
        ({"batch_size": 8}, "batch_size"),
    ):
        with pytest.raises(kyb.ArgumentError, match=f"another job, which differs in {differs};"):
            kyb.extract_features(small, folder, made[0], **{"shard_size": 7, "batch_size": 4, **options})
    other = kyb.v8("n", input_shape=(SIDE, SIDE, 3), levels=("P4", "P5"))
    with pytest.raises(kyb.ArgumentError, match="differs in weights_sha256"):
        kyb.extract_features(other, folder, made[0], shard_size=7, batch_size=4)


def test_damaged_shards_are_made_again(made, small, folder, tmp_path):
    """Truncated, empty, without the errors that belong to it, or with errors of an older run."""
    out, _, _ = made
    for file in out.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = (out / "features-000001.parquet").read_bytes()
    (tmp_path / "features-000001.parquet").write_bytes(content[: len(content) // 2])
    (tmp_path / "features-000003.parquet").write_bytes(b"")
    (tmp_path / "errors-000003.parquet").write_bytes((out / "errors-000000.parquet").read_bytes())
    (tmp_path / "errors-000002.parquet").unlink()
    assert kyb.extract_features(small, folder, tmp_path, shard_size=7, batch_size=4).skipped == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: path.read_bytes() for path in out.iterdir()
    }


def test_shards_whose_images_have_changed_are_made_again(small, folder, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for index in range(4):
        (images / f"{index}.png").write_bytes((folder / "01.png").read_bytes())
    (images / "3.png").write_bytes(b"no image")
    assert kyb.extract_features(small, images, out, shard_size=2) == (3, 1, 2, 0)
    before, _ = rows(out)
    (images / "1.png").write_bytes((folder / "02.png").read_bytes())
    assert kyb.extract_features(small, images, out, shard_size=2) == (2, 0, 1, 1)
    after, _ = rows(out)
    assert np.array_equal(before["0.png"]["P5"], after["0.png"]["P5"])
    assert not np.array_equal(before["1.png"]["P5"], after["1.png"]["P5"])
    (images / "3.png").write_bytes((folder / "02.png").read_bytes())
    assert kyb.extract_features(small, images, out, shard_size=2) == (2, 0, 1, 1)
    features, errors = rows(out)
    assert (sorted(features), errors) == (["0.png", "1.png", "2.png", "3.png"], {})


def test_what_is_no_file_is_an_error_and_nothing_waits(small, folder, tmp_path):
    images = tmp_path / "images"
    (images / "folder.jpg").mkdir(parents=True)
    (images / "folder.jpg" / "inner.png").write_bytes((folder / "01.png").read_bytes())
    os.mkfifo(images / "pipe.jpg")
    (images / "link.jpg").symlink_to(tmp_path / "nothing")
    bad = os.fsdecode(b"caf\xe9.png")
    (images / bad).write_bytes((folder / "01.png").read_bytes())
    (images / "notes.txt").write_text("")
    for source in (images, images / "**" / "*.*g"):
        out = tmp_path / f"out{source == images}"
        assert kyb.extract_features(small, source, out, batch_size=4)[:2] == (2, 3)
        features, errors = rows(out)
        assert sorted(path.rpartition("/")[2] for path in features) == ["caf\\xe9.png", "inner.png"]
        reasons = {path.rpartition("/")[2]: reason for path, reason in errors.items()}
        assert "is no file" in reasons["folder.jpg"]
        assert "is no file" in reasons["pipe.jpg"]
        assert "links to nothing" in reasons["link.jpg"]
        assert kyb.extract_features(small, source, out, batch_size=4) == (0, 0, 0, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"pool": 7}'])
def test_a_damaged_plan(made, small, folder, tmp_path, content):
    """The shards say what they are; one that says something different is believed."""
    out, _, _ = made
    for file in out.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "plan.json").write_bytes(content)
    if b"pool" in content:
        with pytest.raises(kyb.ArgumentError, match="differs in "):
            kyb.extract_features(small, folder, tmp_path, shard_size=7, batch_size=4)
        return
    assert kyb.extract_features(small, folder, tmp_path, shard_size=7, batch_size=4) == (0, 0, 0, 4)
    assert (tmp_path / "plan.json").read_bytes() == (out / "plan.json").read_bytes()


def test_with_the_plan_lost_shards_of_other_options_are_not_mixed_in(made, small, folder, tmp_path):
    for file in made[0].iterdir():
        if file.name != "plan.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(kyb.ArgumentError, match="another job, which differs in pool;"):
        kyb.extract_features(small, folder, tmp_path, shard_size=7, batch_size=4, pool="max")


def test_images_above_the_limit_are_errors(small, folder, tmp_path):
    assert kyb.extract_features(small, folder / "more", tmp_path, max_pixels=63 * 64)[1] > 0
    _, errors = rows(tmp_path)
    assert all("pixels" in reason and "limit" in reason for reason in errors.values())


def test_an_image_that_only_python_reads_stays_in_its_place(made, small, folder, tmp_path, monkeypatch):
    """What tf.data drops for a passing reason is read again, in order."""
    decoded = Extractor._decoded
    monkeypatch.setattr(Extractor, "_decoded", lambda self, files: (x for x in decoded(self, files) if x[0] % 5))
    kyb.extract_features(small, folder, tmp_path, shard_size=7, batch_size=4)
    for shard in range(4):
        name = f"features-{shard:06d}.parquet"
        assert (tmp_path / name).read_bytes() == (made[0] / name).read_bytes()


def test_nothing_waits_for_tuning_at_the_end(small, folder, tmp_path, monkeypatch):
    """The thread that tunes a dataset can make its end wait for seconds; here it is off."""
    seen = []
    original = tf.data.Dataset.as_numpy_iterator

    def recorded(self):
        seen.append(self.options().autotune.enabled)
        return original(self)

    monkeypatch.setattr(tf.data.Dataset, "as_numpy_iterator", recorded)
    kyb.extract_features(small, folder, tmp_path, shard_size=13, batch_size=4)
    assert seen == [False]


def test_the_reader_is_not_rewritten_by_autograph(small, folder, tmp_path, monkeypatch):
    from tensorflow.python.autograph.pyct import loader

    written = []
    original = loader.load_source

    def recorded(*args, **options):
        written.append(args)
        return original(*args, **options)

    monkeypatch.setattr(loader, "load_source", recorded)
    kyb.extract_features(small, folder, tmp_path, shard_size=13, batch_size=4)
    assert written == []


def test_bad_arguments(small, folder, tmp_path):
    for arguments, message in (
        ((folder / "nothing*.jpg", {}), "no images in"),
        ((folder, {"pool": "avgs"}), "did you mean 'avg'"),
        ((folder, {"engine": "spark"}), "unknown engine"),
        ((folder, {"shard_size": 0}), "shard_size 0"),
        ((folder, {"batch_size": -1}), "batch_size -1"),
    ):
        with pytest.raises(kyb.ArgumentError, match=message):
            kyb.extract_features(small, arguments[0], tmp_path, **arguments[1])
    with pytest.raises(kyb.ArgumentError, match="leaves its image size open"):
        kyb.extract_features(kyb.v8("n", input_shape=(None, None, 3)), folder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def command(folder, out, weights, *more):
    arguments = ["features", "v8-n", "--image-size", "64", "--levels", "P5", "--pool", "max", "--weights", str(weights)]
    return [*arguments, "--images", f"{folder}/**/*.*g", "--out", str(out), "--batch-size", "4", *more]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "v8n.weights.h5"
    kyb.v8("n", input_shape=(SIDE, SIDE, 3), levels=("P5",)).save_weights(path)
    return path


def test_the_command(folder, weights, tmp_path, capsys):
    assert main(command(folder, tmp_path / "out", weights, "--shard-size", "10")) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("shards written: 3, with 23 images (")
    assert said.endswith("there already: 0; images that could not be read: 3, see errors-*.parquet")
    features, errors = rows(tmp_path / "out")
    assert (len(features), len(errors)) == (23, 3)
    assert all(len(row["P5"]) == 256 for row in features.values())
    assert main(command(folder, tmp_path / "out", weights, "--shard-size", "10", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"images": 0, "errors": 0, "shards": 0, "skipped": 3}


def start(*arguments):
    return subprocess.Popen([sys.executable, "-m", "keras_yolo_backbones.cli", *arguments], cwd=ROOT)


@pytest.mark.slow
def test_kills_lose_one_shard_at_most(folder, weights, tmp_path):
    whole, out, images = tmp_path / "whole", tmp_path / "killed", tmp_path / "images"
    images.mkdir()
    for index in range(300):
        os.link(folder / "01.png", images / f"{index:03d}.png")
    assert main(command(images, whole, weights, "--shard-size", "1")) == 0
    random = np.random.default_rng(0)
    for _ in range(6):
        before = len(list(out.glob("features-*"))) if out.exists() else 0
        with start(*command(images, out, weights, "--shard-size", "1")) as process:
            while process.poll() is None and len(list(out.glob("features-*"))) <= before:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert len(list(out.glob(".*"))) <= 1
        print(f"{len(list(out.glob('features-*')))} shards of 300 after a kill")
    assert main(command(images, out, weights, "--shard-size", "1")) == 0
    contents = {path.name: path.read_bytes() for path in whole.iterdir()}
    assert {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")} == contents


@pytest.mark.slow
def test_memory_is_flat_over_20000_images(small, folder, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    source = folder / "01.png"
    for index in range(20_000):
        os.link(source, images / f"{index:05d}.png")
    sizes = []

    def progress(done, _):
        if not sizes or done >= sizes[-1][0] + 1000:
            sizes.append((done, resident()))

    kyb.extract_features(small, images, tmp_path / "out", shard_size=1000, progress=progress)
    early, late = (np.mean([size for done, size in sizes if low <= done < high]) for low, high in RANGES)
    print(f"{early / 1e6:.1f} MB at 3,000 … 8,000 images, {late / 1e6:.1f} MB at 15,000 … 20,000")
    assert late < early * 1.03
    assert sum(parquet.read_metadata(file).num_rows for file in (tmp_path / "out").glob("features-*")) == 20_000


RANGES = ((3_000, 8_000), (15_000, 20_001))


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_throughput_is_that_of_the_model(photographs, tmp_path):
    """Files that are quickly decoded, so that the model is the limit."""
    model = kyb.v8("s", input_shape=(256, 256, 3), levels=("P5",))
    images = tmp_path / "images"
    images.mkdir()
    content = tf.io.encode_jpeg(np.tile(photographs[0], (2, 2, 1))).numpy()
    for index in range(512):
        (images / f"{index}.jpg").write_bytes(content)
    extractor = Extractor(model, batch_size=32)
    bare_loop(extractor, 2)
    ratios = []
    for attempt in range(3):
        begin = time.perf_counter()
        bare_loop(extractor, 16)
        middle = time.perf_counter()
        out = tmp_path / f"out{attempt}"
        out.mkdir()
        job = module.make_job(images, out, 128)  # whole batches
        list(extractor.run(job, job.shards))
        ratios.append((middle - begin) / (time.perf_counter() - middle))
    print(f"throughput relative to the bare model loop: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    assert max(ratios) > 0.8


@pytest.mark.slow
def test_ray_makes_the_same_bytes(made, small, folder, tmp_path):
    pytest.importorskip("ray", reason="Ray is 70 MB of servers: install keras-yolo-backbones[scale] to test it")
    summary = kyb.extract_features(small, folder, tmp_path, shard_size=7, batch_size=4, engine="ray", workers=2)
    assert summary == (23, 3, 4, 0)
    contents = {path.name: path.read_bytes() for path in made[0].iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
