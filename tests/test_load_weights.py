"""Loading original weights: the original's outputs, or an error that says what did not fit and changes nothing."""

from __future__ import annotations

import re
import struct
import warnings

import keras
import numpy as np
import pytest
from conftest import DATA, in_subprocess
from golden import load, load_into, relative_error
from safetensors.numpy import load_file, save_file
from torchfile import Writer, write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.weights.readers.darknet import in_file_order

HEAD = {"model.22.cv2.0.conv.weight": np.ones((4, 4, 1, 1), np.float32), "model.22.dfl.conv.weight": np.ones((1, 16))}


@pytest.fixture(scope="module")
def v8():
    return load(DATA / "golden" / "v8_n.npz")


@pytest.fixture(scope="module")
def v8_file(v8, tmp_path_factory):
    """A whole detector, as its project publishes it: a pickled model in half precision."""
    writer = Writer()
    halves = {key: value.astype(np.float16) for key, value in {**v8.tensors, **HEAD}.items()}
    path = tmp_path_factory.mktemp("v8") / "yolov8n.pt"
    return writer.write(path, {"epoch": -1, "model": None, "ema": writer.module(halves), "license": "AGPL-3.0"})


@pytest.fixture(scope="module")
def tiny():
    return load(DATA / "golden" / "v3_tiny.npz")


def small(network: str = "v8-n", **options):
    return kyb.create(network, input_shape=(64, 64, 3), **options)


def write_darknet(path, tensors, *, behind: int = 0):
    numbers = b"".join(tensors[key].astype("<f4").tobytes() for key in in_file_order(tensors))
    path.write_bytes(struct.pack("<3iQ", 0, 2, 5, 64) + numbers + bytes(4 * behind))
    return path


def outputs(model, images):
    return {level: keras.ops.convert_to_numpy(tensor) for level, tensor in model(images, training=False).items()}


def refused(model, path, reason: str, **options):
    """Loading raises `CheckpointError` and leaves every variable as it was."""
    before = [variable.numpy().tobytes() for variable in model.weights]
    with pytest.raises(kyb.CheckpointError, match=reason) as caught:
        kyb.load_weights(model, path, **options)
    assert caught.value.path == path
    assert [variable.numpy().tobytes() for variable in model.weights] == before
    assert kyb.get_provenance(model) is None
    return caught.value.reason


def test_a_detector_in_half_precision_gives_the_originals_features(v8, v8_file):
    model = kyb.v8("n", input_shape=v8.images.shape[1:], levels=("P2", "P3", "P4", "P5"))
    loaded = kyb.load_weights(model, v8_file)
    assert loaded.placed == len(v8.tensors) == 135
    assert loaded.ignored == tuple(HEAD)
    assert loaded.initial == loaded.unplaced == ()
    assert loaded.identity.name == "v8-n"
    assert loaded.identity.part == "ema"
    halves = {key: value.astype(np.float16).astype(np.float32) for key, value in v8.tensors.items()}
    reference = kyb.v8("n", input_shape=v8.images.shape[1:], levels=("P2", "P3", "P4", "P5"))
    load_into(reference, halves)
    for level, expected in outputs(reference, v8.images).items():
        np.testing.assert_array_equal(outputs(model, v8.images)[level], expected)
        assert relative_error(expected, v8.levels[level]) < 5e-3  # what rounding the weights to half precision costs


def test_safetensors_there_and_back_bit_for_bit(v8, tmp_path):
    save_file(v8.tensors, tmp_path / "a.safetensors")
    model = kyb.v8("n", input_shape=v8.images.shape[1:], levels=("P2", "P3", "P4", "P5"))
    kyb.load_weights(model, tmp_path / "a.safetensors")
    for level, expected in v8.levels.items():
        assert relative_error(outputs(model, v8.images)[level], expected) < 1e-5
    shapes = kyb.export_weights(model, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert set(back) == set(v8.tensors) == set(shapes)
    for key, tensor in v8.tensors.items():
        assert shapes[key] == tensor.shape
        assert back[key].tobytes() == tensor.tobytes()


@pytest.mark.parametrize(
    ("name", "file"),
    [("v5-5.0-s", "v5-focus_s"), ("v10-n", "v10_n"), ("v12-n", "12_n"), ("v12-turbo-n", "v12-turbo_n"),
     ("v9-t", "v9_t"), ("v6-n", "v6_n"), ("v4-scaled-csp", "v4-scaled_csp"), ("yolox-nano", "yolox_nano")],
)  # fmt: skip
def test_rearranged_tensors_go_there_and_back_bit_for_bit(tmp_path, name, file):
    golden = load(DATA / "golden" / f"{file}.npz")
    save_file(golden.tensors, tmp_path / "a.safetensors")
    assert name in kyb.identify(tmp_path / "a.safetensors").names
    model = kyb.create(name, input_shape=(64, 64, 3), levels=("P2", "P3", "P4", "P5"))
    assert kyb.load_weights(model, tmp_path / "a.safetensors").placed == len(golden.tensors)
    kyb.export_weights(model, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert {key: tensor.tobytes() for key, tensor in back.items()} == {
        key: tensor.tobytes() for key, tensor in golden.tensors.items()
    }


def test_darknet_there_and_its_outputs(tiny, tmp_path):
    path = write_darknet(tmp_path / "yolov3-tiny.conv.11", tiny.tensors)
    model = kyb.v3("tiny", input_shape=tiny.images.shape[1:], levels=("P2", "P3", "P4", "P5"))
    loaded = kyb.load_weights(model, path)
    assert (loaded.identity.names, loaded.identity.complete, loaded.placed) == (("v3-tiny",), True, 30)
    assert loaded.provenance.licence == "LicenseRef-YOLO-2"
    for level, expected in tiny.levels.items():
        assert relative_error(outputs(model, tiny.images)[level], expected) < 1e-5


@pytest.mark.parametrize("classes", [80, 20, 1])
def test_a_darknet_detector_is_known_by_its_length(tiny, tmp_path, classes):
    filters = 3 * (5 + classes)
    convs = 1024 * 512 * 9 + 256 * 1024 + 512 * 256 * 9 + 128 * 256 + 256 * 384 * 9 + 4 * (1024 + 256 + 512 + 128 + 256)
    path = write_darknet(tmp_path / "a.weights", tiny.tensors, behind=convs + filters * (512 + 1 + 256 + 1))
    if classes == 80:
        assert path.stat().st_size == 35434956  # as yolov3-tiny.weights is published
    assert kyb.identify(path).name == "v3-tiny"
    loaded = kyb.load_weights(small("v3-tiny"), path)
    assert loaded.ignored == (f"{convs + filters * 770} numbers after the backbone",)


def test_darknet_with_numbers_that_nothing_explains(tiny, tmp_path):
    path = write_darknet(tmp_path / "a.weights", tiny.tensors, behind=1000)
    refused(small("v3-tiny"), path, "1000 numbers after the backbone are no whole layers of its detector")
    assert kyb.load_weights(small("v3-tiny"), path, strict=False).placed == 30
    with pytest.raises(kyb.CheckpointError, match="of no network of the zoo"):
        kyb.identify(path)


def test_darknet_truncated(tiny, tmp_path):
    path = write_darknet(tmp_path / "a.weights", tiny.tensors)
    whole = path.read_bytes()
    path.write_bytes(whole[:-4000])
    refused(small("v3-tiny"), path, r"numbers follow the last whole layer.*truncated")
    path.write_bytes(whole[:-3])
    refused(small("v3-tiny"), path, "no header and whole float32 numbers")
    cut = 20 + 4 * sum(tiny.tensors[key].size for key in tiny.tensors if int(key.split(".")[0]) <= 6)
    path.write_bytes(whole[:cut])
    refused(small("v3-tiny"), path, r"10 tensors of the model are missing in the file: 8.conv.weight")
    assert len(kyb.load_weights(small("v3-tiny"), path, strict=False).initial) == 10


def test_darknet_of_another_network(tiny, tmp_path):
    path = write_darknet(tmp_path / "a.weights", tiny.tensors)
    refused(small("v4-tiny"), path, r"does not fit v4-tiny.*\(v3-tiny\)")
    refused(small("v4-tiny"), path, "negative numbers where variances should be", strict=False)
    refused(small("v8-n"), path, "is a darknet .weights file, the model is v8-n; such files fit v3-base, v3-spp")


def test_darknet_with_the_short_header(tiny, tmp_path):
    path = write_darknet(tmp_path / "a.weights", tiny.tensors)
    path.write_bytes(struct.pack("<3iI", 0, 1, 0, 64) + path.read_bytes()[20:])
    assert kyb.load_weights(small("v3-tiny"), path).placed == 30


def test_the_wrong_size_is_named(v8_file):
    reason = refused(small("v8-s"), v8_file, "this is v8-n, the model is v8-s")
    assert "135 tensors have a different shape" not in reason
    assert re.search(r"\d+ tensors have a different shape in the model: model.0.conv.weight \(16, 3, 3, 3\)", reason)
    refused(small("v8-s"), v8_file, "this is v8-n, the model is v8-s", strict=False)


def test_the_wrong_family_is_named(v8_file, tmp_path):
    refused(small("v5-n"), v8_file, "this is v8-n, the model is v5-n")
    golden = load(DATA / "golden" / "11_n.npz")
    save_file({**golden.tensors, "model.23.cv2.0.0.conv.weight": np.ones((1, 1, 3, 3))}, tmp_path / "11.safetensors")
    refused(small("v26-n"), tmp_path / "11.safetensors", "this is v11-n, the model is v26-n")


def test_backbones_that_are_equal_in_shape_are_taken_for_what_the_model_is(tmp_path):
    golden = load(DATA / "golden" / "11_n.npz")
    save_file(golden.tensors, tmp_path / "a.safetensors")
    assert kyb.identify(tmp_path / "a.safetensors").names == ("v11-n", "v26-n")
    model = kyb.v26("n", name="mine", input_shape=(64, 64, 3))
    assert kyb.load_weights(model, tmp_path / "a.safetensors").provenance.network == "v26-n"


def test_a_missing_tensor_is_an_error_and_left_alone_only_if_asked(v8, tmp_path):
    tensors = {key: value for key, value in v8.tensors.items() if not key.startswith("model.4.cv2")}
    path = write_state_dict(tmp_path / "a.pt", tensors)
    refused(small(), path, "5 tensors of the model are missing in the file: model.4.cv2.conv.weight")
    model = small()
    before = model.get_layer("stage3.cv2.conv").kernel.numpy()
    loaded = kyb.load_weights(model, path, strict=False)
    assert loaded.placed == 130
    assert len(loaded.initial) == 5
    np.testing.assert_array_equal(model.get_layer("stage3.cv2.conv").kernel.numpy(), before)


def test_an_unexplained_backbone_tensor_is_an_error(v8, tmp_path):
    path = write_state_dict(tmp_path / "a.pt", {**v8.tensors, "model.4.extra.weight": np.ones(3, np.float32)})
    refused(small(), path, "1 backbone tensors of the file have no place in the model: model.4.extra.weight")
    assert kyb.load_weights(small(), path, strict=False).unplaced == ("model.4.extra.weight",)


@pytest.mark.parametrize(
    ("options", "reason", "initial", "unplaced"),
    [
        ({"spp": False}, "10 backbone tensors of the file have no place", 0, 10),
        ({"levels": ("P3",)}, "70 backbone tensors of the file have no place", 0, 70),
        ({"neck_channels": 8}, "15 variables of the model are not in the original: neck.P3.conv.kernel", 15, 0),
    ],
)
def test_models_that_are_not_the_whole_original_load_if_asked(v8_file, options, reason, initial, unplaced):
    model = small(**options)
    refused(model, v8_file, reason)
    loaded = kyb.load_weights(model, v8_file, strict=False)
    assert len(loaded.initial) == initial
    assert len(loaded.unplaced) == unplaced
    assert loaded.placed == 135 - unplaced


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(v8, tmp_path, value):
    tensors = dict(v8.tensors)
    tensors["model.6.cv1.conv.weight"] = tensors["model.6.cv1.conv.weight"].copy()
    tensors["model.6.cv1.conv.weight"][3, 2, 0, 0] = value
    path = write_state_dict(tmp_path / "a.pt", tensors)
    refused(small(), path, "model.6.cv1.conv.weight holds values that are not finite")


def test_a_number_too_large_for_the_model_is_refused(v8, tmp_path):
    tensors = dict(v8.tensors)
    tensors["model.0.bn.bias"] = np.full(16, 1e300)
    refused(small(), write_state_dict(tmp_path / "a.pt", tensors), "model.0.bn.bias holds values that are not finite")


def test_a_negative_variance_is_refused(v8, tmp_path):
    tensors = dict(v8.tensors)
    tensors["model.8.cv2.bn.running_var"] = -tensors["model.8.cv2.bn.running_var"]
    path = write_state_dict(tmp_path / "a.pt", tensors)
    refused(small(), path, "model.8.cv2.bn.running_var holds a negative variance")


def test_integers_in_place_of_weights_are_refused(v8, tmp_path):
    tensors = {**v8.tensors, "model.0.bn.weight": np.ones(16, np.int64)}
    refused(small(), write_state_dict(tmp_path / "a.pt", tensors), "model.0.bn.weight holds int64")


def test_a_fused_model_takes_no_original_weights(v8_file):
    with pytest.raises(kyb.ArgumentError, match="is fused"):
        kyb.load_weights(kyb.fuse(small()), v8_file, strict=False)


def test_a_foreign_model_takes_no_original_weights(v8_file):
    foreign = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(kyb.ArgumentError, match="is no backbone of this package"):
        kyb.load_weights(foreign, v8_file)


def test_a_file_that_does_not_say_its_activation_is_assumed_to_be_as_published(v8_file):
    with pytest.warns(UserWarning, match=r"published weights of v8-n were with silu, the model has relu6") as said:
        kyb.load_weights(small(activation="relu6"), v8_file)
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = kyb.load_weights(small(), v8_file)
    assert loaded.trained == ("silu", False, 0.001, False, ())
    assert loaded.assumed == "assumed: silu, epsilon 0.001"
    assert repr(loaded).endswith("2 ignored, licence AGPL-3.0, assumed: silu, epsilon 0.001>")
    assert len(repr(loaded)) < 200


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_keras_own_files(tmp_path, suffix):
    model, path = small(), tmp_path / f"a{suffix}"
    if suffix == ".keras":
        model.save(path)
    else:
        model.save_weights(path)
    assert kyb.identify(path).names == ("v8-n",)
    other = small()
    loaded = kyb.load_weights(other, path)
    assert loaded.placed == 155
    assert loaded.provenance.licence == "not stated"
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    refused(small("v8-s"), path, "this is v8-n, the model is v8-s")
    refused(small(levels=("P3",)), path, "have no place in the model")


def test_keras_own_files_with_values_that_are_not_finite(tmp_path):
    model = small()
    model.get_layer("stem.bn").moving_variance.assign(np.full(16, np.nan))
    model.save_weights(tmp_path / "a.weights.h5")
    refused(small(), tmp_path / "a.weights.h5", "stem.bn/3 holds values that are not finite")


def test_the_authors_files_of_v9_with_other_layer_numbers(tmp_path):
    from keras_yolo_backbones.registry import find
    from keras_yolo_backbones.weights.layouts import layout_of
    from keras_yolo_backbones.weights.mapping import gather
    from keras_yolo_backbones.weights.recognition.networks import networks

    model = small("v9-c")
    own = gather(model, layout_of(find("v9-c")))
    shifted = {re.sub(r"\d+", lambda i: str(int(i[0]) + 1), key, count=1): value for key, value in own.items()}
    path = write_state_dict(tmp_path / "yolov9-c.pt", {**shifted, "model.11.cv1.conv.weight": np.ones((1, 1, 1, 1))})
    assert set(networks()["v9-c"].namings[1].kernels) <= set(shifted)
    assert kyb.identify(path).name == "v9-c"
    other = small("v9-c")
    kyb.load_weights(other, path)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


LARGE = """
import resource, sys, time
import keras_yolo_backbones as kyb
model = kyb.v8("x", input_shape=(32, 32, 3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
placed = kyb.load_weights(model, {path!r}).placed
print(placed, time.perf_counter() - start, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.slow
def test_a_large_file_is_streamed(tmp_path):
    """The size of yolov8x.pt: 68 million numbers in half precision, of which the backbone has 30."""
    from keras_yolo_backbones.registry import find
    from keras_yolo_backbones.weights.layouts import layout_of
    from keras_yolo_backbones.weights.mapping import original_shapes

    shapes = original_shapes(small("v8-x"), layout_of(find("v8-x")))
    tensors = {key: np.ones(shape, np.float16) for key, shape in shapes.items()}
    rest = 68_200_000 - sum(value.size for value in tensors.values())
    tensors |= {f"model.22.{i}.weight": np.ones(rest // 100, np.float16) for i in range(100)}
    path = write_state_dict(tmp_path / "yolov8x.pt", tensors)
    size = path.stat().st_size
    assert size > 136e6
    placed, seconds, peak = map(float, in_subprocess(LARGE.format(path=str(path))).split()[-3:])
    assert placed == 255
    assert peak < size + 300e6
    assert seconds < 30
