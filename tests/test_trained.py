"""What weights were trained with is compared with the model that they go into, wherever they meet."""

from __future__ import annotations

import json
import warnings

import keras
import numpy as np
import pytest
from conftest import DATA, in_subprocess
from golden import load, relative_error
from safetensors import safe_open
from safetensors.numpy import save_file
from torchfile import Writer, real_file, write_state_dict

import keras_yolo_backbones as kyb
from keras_yolo_backbones.cli import main
from keras_yolo_backbones.weights.channels import spread
from keras_yolo_backbones.weights.recognition.networks import networks


@pytest.fixture(scope="module")
def v8():
    return load(DATA / "golden" / "v8_n.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def relu6(folder):
    """A whole pickled detector whose description says ReLU6."""
    return real_file(folder / "relu6.pt", "v_relu6")


@pytest.fixture(scope="module")
def linear(folder, v8):
    """A pickled backbone whose SPPF has no activation in its first conv."""
    kinds = {module: "SiLU" for module, name in networks()["v8-n"].namings[0].activations.items() if name == "silu"}
    writer = Writer(kinds | {"model.9.cv1": "Identity"})
    return writer.write(folder / "linear.pt", {"model": writer.module(v8.tensors)})


def small(size: str = "n", **options):
    return kyb.v8(size, **{"input_shape": (64, 64, 3), **options})


def loaded(model, path, **options):
    """The result, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return kyb.load_weights(model, path, **options)


def refused(model, path, **options) -> str:
    """Why a file is refused; the model stays as it was."""
    before = model.get_weights()
    with pytest.raises(kyb.CheckpointError) as caught:
        kyb.load_weights(model, path, **options)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_another_activation_is_refused_with_the_call_that_builds_the_right_one(relu6):
    reason = refused(small(), relu6)
    assert reason.startswith(
        'trained with relu6, the model has silu; build kyb.v8("n", activation="relu6"), in a shell'
    )
    assert reason.endswith("v8-n --activation relu6; strict=False loads it all the same.")
    assert len(reason) < 200
    result = loaded(small(activation="relu6"), relu6)
    assert result.trained == ("relu6", False, 0.001, True, ())
    assert result.assumed == ""


def test_an_spp_without_activation_is_refused_and_fits_a_linear_one(linear):
    assert kyb.identify(linear).options == {"spp": "linear"}
    reason = refused(small(), linear)
    assert "no activation in model.9.cv1, the model has silu there" in reason
    assert 'kyb.v8("n", spp="linear"), in a shell v8-n --linear-spp' in reason
    assert loaded(small(spp="linear"), linear).trained.linear_spp
    assert "silu in model.9.cv1, the model has none" in refused(small(spp="linear"), silu(linear.parent))


def silu(folder):
    """A file that says SiLU of every module."""
    return real_file(folder / "silu.pt", "v8_n")


def test_an_epsilon_is_compared(folder):
    path = silu(folder)
    assert loaded(small(), path).trained == ("silu", False, 0.001, True, ())
    reason = refused(small(epsilon=1e-5), path)
    assert reason.startswith(
        'trained with batch norm epsilon 0.001, the model has 1e-05; build kyb.v8("n"), in a shell'
    )


def test_strict_false_loads_it_and_says_so(relu6, tmp_path):
    model = small()
    with pytest.warns(kyb.BackboneWarning, match=r"trained with relu6, the model has silu; build kyb.v8") as said:
        kyb.load_weights(model, relu6, strict=False)
    assert len(said) == 1
    assert kyb.get_provenance(model).activation == "relu6"
    # As they are they still belong to ReLU6 …
    kyb.save_weights(model, tmp_path / "as_they_are.weights.h5")
    assert "trained with relu6" in refused(small(), tmp_path / "as_they_are.weights.h5")
    # … and once they were trained on they belong to the model.
    model.get_layer("stem.bn").beta.assign_add(np.ones(16, np.float32))
    kyb.save_weights(model, tmp_path / "trained.weights.h5")
    assert loaded(small(), tmp_path / "trained.weights.h5").trained.activation == "silu"
    assert "trained with silu, the model has relu6" in refused(
        small(activation="relu6"), tmp_path / "trained.weights.h5"
    )


@pytest.mark.parametrize("name", ["x.weights.h5", "x.safetensors", "x.keras"])
def test_what_is_known_travels_with_the_weights(linear, tmp_path, name):
    model = kyb.from_checkpoint(linear, input_shape=(64, 64, 3))
    path = tmp_path / name
    if name.endswith(".keras"):
        model.save(path)
    else:
        (kyb.save_weights if name.endswith(".h5") else kyb.export_weights)(model, path)
    assert kyb.identify(path).trained == ("silu", True, 0.001, True, ())
    assert 'build kyb.v8("n", spp="linear")' in refused(small(), path)
    assert loaded(small(spp="linear"), path).trained.linear_spp
    again = kyb.from_checkpoint(path, input_shape=(64, 64, 3))
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_that_were_never_loaded_say_what_they_were_trained_with(tmp_path):
    path = tmp_path / "x.weights.h5"
    kyb.save_weights(small(activation="relu6"), path)
    assert kyb.get_provenance(small()) is None
    assert "trained with relu6" in refused(small(), path)
    loaded(small(activation="relu6"), path)


@pytest.mark.parametrize("activation", ["relu6", "hard_swish", "leaky_relu", "gelu", "mish", "relu", "silu"])
def test_a_saved_model_says_its_activations(tmp_path, activation):
    path = tmp_path / "x.keras"
    small(activation=activation, levels=("P3",)).save(path)
    loaded(small(activation=activation, levels=("P3",)), path)
    other = "relu" if activation == "silu" else "silu"
    reason = refused(small(activation=other, levels=("P3",)), path)
    assert reason.startswith(f"the model in it has {activation}, the model has {other}; open it with kyb.load_model")


def test_the_command_line_says_it_in_one_line(relu6, tmp_path, capfd):
    out = tmp_path / "x.weights.h5"
    assert main(["import-weights", "--auto", str(relu6), "--out", str(out)]) == 0
    assert "trained with relu6, epsilon 0.001\n" in capfd.readouterr().out
    arguments = ["export", "v8-n", "--image-size", "32", "--format", "onnx", "--out", str(tmp_path / "onnx")]
    assert main([*arguments, "--weights", str(out)]) == 1
    errors = capfd.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert "in a shell v8-n --activation relu6" in errors[0]
    assert not (tmp_path / "onnx").exists()


def test_kyb_quantize_compares_activations_too(relu6, tmp_path, capfd):
    out, photographs = tmp_path / "x.weights.h5", tmp_path / "photographs"
    assert main(["import-weights", "--auto", str(relu6), "--out", str(out)]) == 0
    photographs.mkdir()
    capfd.readouterr()
    arguments = ["--image-size", "32", "--images", str(photographs), "--out", str(tmp_path / "build")]
    for file in (out, relu6):
        assert main(["quantize", "v8-n", "--weights", str(file), *arguments]) == 1
        (error,) = capfd.readouterr().err.strip().splitlines()
        assert "trained with relu6, the model has silu" in error
    assert main(["quantize", "v8-n", "--activation", "relu6", "--weights", str(out), *arguments]) == 1
    assert "photographs" in capfd.readouterr().err  # the weights fit: now it is the images that are missing
    assert not list(tmp_path.glob("build/*"))


def test_warnings_are_lines_of_the_command(v8, tmp_path, capfd):
    path = write_state_dict(tmp_path / "a.pt", v8.tensors)
    arguments = ["export", "v8-n", "--activation", "relu6", "--image-size", "32", "--format", "onnx"]
    assert main([*arguments, "--weights", str(path), "--out", str(tmp_path)]) == 0
    printed = [line for line in capfd.readouterr().err.splitlines() if "published" in line]
    assert printed == [
        f"kyb: {path} does not say what it was trained with; published weights of v8-n were with silu, the model has "
        "relu6: its features are not the original's until it is trained."
    ]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("g_fused_save", 'kyb.fuse(kyb.v8("n"))'),
        ("g_fused_sd", 'kyb.fuse(kyb.v8("n"))'),
        ("m_yolov8n-p2", 'kyb.v8("n")'),
        ("n_ch4", 'kyb.v8("n", input_shape=(640, 640, 4))'),
        ("v_relu6", 'kyb.v8("n", activation="relu6")'),
        ("v_model_is_name", 'kyb.v8("n")'),
        ("v_tuple", 'kyb.v8("n")'),
        ("o_pruned_sd", 'kyb.v8("n")'),
        ("t_swa", 'kyb.v8("n")'),
        ("v_thop", 'kyb.v8("n")'),
    ],
)
def test_from_checkpoint_builds_what_the_file_says(tmp_path, capfd, name, call):
    path = real_file(tmp_path / f"{name}.pt", name)
    assert main(["identify", str(path), "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["build"] == call
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = kyb.from_checkpoint(path, input_shape=(64, 64, said["channels"]), levels=("P4", "P5"))
    assert list(model.output) == ["P4", "P5"]
    assert kyb.get_provenance(model).file == path.name
    with kyb.read_checkpoint(path) as checkpoint:
        kernel = checkpoint.tensors["model.6.cv2.conv.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer("stage4.cv2.conv").kernel, kernel.astype(np.float32))


def test_a_file_says_how_large_its_images_were(folder):
    assert kyb.from_checkpoint(silu(folder)).inputs[0].shape[1:] == (640, 640, 3)


def test_a_fused_file_and_a_model_that_is_not_fused(folder):
    path = real_file(folder / "fused.pt", "g_fused_save")
    assert "the file is fused" in refused(small(), path)
    assert "Load it into kyb.fuse(model)" in refused(small(), path, strict=False)
    loaded(kyb.fuse(small()), path)


def test_a_fused_file_of_keras_and_a_model_that_is_not_fused(tmp_path):
    model, path = small(), tmp_path / "x.weights.h5"
    kyb.save_weights(kyb.fuse(model), path)
    assert refused(small(), path).endswith("Load it into kyb.fuse(model).")
    loaded(kyb.fuse(small()), path)
    kyb.save_weights(model, path)
    assert refused(kyb.fuse(small()), path).startswith("the model is fused, the file is not")


def folded(tensors: dict[str, np.ndarray], epsilon: float) -> dict[str, np.ndarray]:
    """Kernels and biases of convolutions that their batch norms are folded into."""
    found = {}
    for key, kernel in tensors.items():
        if key.endswith("conv.weight"):
            module = key.removesuffix("conv.weight")
            scale, shift, mean, variance = (
                tensors[f"{module}bn.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
            )
            factor = scale / np.sqrt(variance + np.float32(epsilon))
            found[key] = kernel * factor[:, None, None, None]
            found[f"{module}conv.bias"] = shift - mean * factor
    return found


@pytest.mark.parametrize(("network", "file", "epsilon"), [("v8-n", "v8_n", 1e-3), ("v5-5.0-s", "v5-focus_s", 1e-3)])
def test_folded_weights_compute_what_the_others_do(tmp_path, network, file, epsilon):
    golden, path = load(DATA / "golden" / f"{file}.npz"), tmp_path / "folded.safetensors"
    save_file(folded(golden.tensors, epsilon), path)
    assert kyb.identify(path).names == (network,)
    model = kyb.from_checkpoint(path, input_shape=golden.images.shape[1:], levels=tuple(golden.levels))
    for level, output in model(golden.images, training=False).items():
        assert relative_error(keras.ops.convert_to_numpy(output), golden.levels[level]) < 1e-5


def test_a_partly_fused_file_goes_into_a_model_that_is_not_fused(tmp_path):
    """The original of YOLOv13 folds the batch norms of its plain convolutions only."""
    golden, path = load(DATA / "golden" / "v13_n.npz"), tmp_path / "partly.safetensors"
    plain = {key for key in golden.tensors if key.endswith(".conv.weight")}
    normed = {f"{key.removesuffix('conv.weight')}bn.{part}" for key in plain for part in BN}
    save_file({**{k: t for k, t in golden.tensors.items() if k not in normed}, **folded(golden.tensors, 1e-3)}, path)
    assert kyb.identify(path).facts.fused is False
    model = kyb.from_checkpoint(path, input_shape=golden.images.shape[1:], levels=tuple(golden.levels))
    for each in (model, kyb.fuse(model)):
        for level, output in each(golden.images, training=False).items():
            assert relative_error(keras.ops.convert_to_numpy(output), golden.levels[level]) < 2e-5
    with pytest.raises(kyb.ArgumentError, match=r"is fused: the file has a batch norm where .* then fuse that"):
        kyb.load_weights(kyb.fuse(model), path)


BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize(
    ("branch", "instead", "file", "name"),
    [
        (".rbr_dense.conv.", ".rbr_reparam.", "v6_n", "v6-n"),
        (".conv1.conv.", ".conv.", "v9_t", "v9-t"),
    ],
)
def test_folded_branches_are_recognised_by_the_originals_names(tmp_path, branch, instead, file, name):
    """What the originals' own fusing leaves: one convolution for several, under a name of its own."""
    tensors = folded(load(DATA / "golden" / f"{file}.npz").tensors, 1e-3)
    tensors = {key.replace(branch, instead): value for key, value in tensors.items() if not is_second(key)}
    save_file(tensors, tmp_path / "folded.safetensors")
    assert kyb.identify(tmp_path / "folded.safetensors").names == (name,)
    model = kyb.from_checkpoint(tmp_path / "folded.safetensors", input_shape=(64, 64, 3))
    assert len(model.weights) >= len(tensors)


def is_second(key: str) -> bool:
    return ".rbr_1x1." in key or ".conv2.conv." in key


def test_the_wrong_number_of_channels_is_named(v8, tmp_path):
    save_file(v8.tensors, tmp_path / "a.safetensors")
    assert kyb.identify(tmp_path / "a.safetensors").channels == 3
    reason = refused(small(input_shape=(64, 64, 1)), tmp_path / "a.safetensors")
    assert reason.startswith(
        "its network takes images of 3 channels, the model of 1; build it with input_shape=(height,"
    )
    assert "adapt_stem=True" in reason
    grey = small(input_shape=(64, 64, 1))
    kyb.save_weights(grey, tmp_path / "grey.weights.h5")
    identity = kyb.identify(tmp_path / "grey.weights.h5")
    assert (identity.name, identity.channels) == ("v8-n", 1)
    assert "takes images of 1 channel, the model of 3" in refused(small(), tmp_path / "grey.weights.h5")


@pytest.mark.parametrize("network", ["v8-n", "v5-5.0-s", "v6-n"])
@pytest.mark.parametrize("channels", [1, 2, 4, 6])
def test_a_stem_for_other_channels_answers_a_grey_image_alike(tmp_path, network, channels):
    file = {"v8-n": "v8_n", "v5-5.0-s": "v5-focus_s", "v6-n": "v6_n"}[network]
    golden = load(DATA / "golden" / f"{file}.npz")
    save_file(golden.tensors, tmp_path / "a.safetensors")
    other = kyb.create(network, input_shape=(64, 64, channels), levels=("P3",))
    kyb.load_weights(other, tmp_path / "a.safetensors", strict=False, adapt_stem=True)
    original = kyb.create(network, input_shape=(64, 64, 3), levels=("P3",))
    kyb.load_weights(original, tmp_path / "a.safetensors", strict=False, adapt_stem=True)
    grey = np.random.default_rng(0).random((1, 64, 64, 1)).astype(np.float32)
    outputs = [
        model(np.repeat(grey, model.inputs[0].shape[-1], 3), training=False)["P3"] for model in (other, original)
    ]
    assert relative_error(*map(keras.ops.convert_to_numpy, outputs)) < 1e-5


@pytest.mark.parametrize("channels", [1, 4])
def test_a_stem_that_took_bgr_is_spread_too(tmp_path, channels):
    """YOLOX takes BGR pixels 0…255: after normalizing, a grey image in [0, 1] gives the same with any channels."""
    golden = load(DATA / "golden" / "yolox_nano.npz")
    save_file(golden.tensors, tmp_path / "a.safetensors")
    models = [kyb.yolox("nano", input_shape=(64, 64, count), levels=("P3",)) for count in (channels, 3)]
    for model in models:
        kyb.load_weights(model, tmp_path / "a.safetensors", strict=False, adapt_stem=True)
    grey = np.random.default_rng(0).random((1, 64, 64, 1)).astype(np.float32)
    outputs = [model(np.repeat(grey, model.inputs[0].shape[-1], 3), training=False)["P3"] for model in models]
    assert relative_error(*map(keras.ops.convert_to_numpy, outputs)) < 1e-5


def test_spreading_a_kernel():
    kernel = np.arange(6, dtype=np.float16).reshape(1, 1, 3, 2)
    assert spread(kernel, 3) is kernel
    np.testing.assert_array_equal(spread(kernel, 1)[0, 0], [[6, 9]])
    np.testing.assert_array_equal(spread(kernel, 4)[0, 0], [[0, 0.5], [2, 3], [4, 5], [0, 0.5]])


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_go_there_and_back(tmp_path, channels):
    model = kyb.v5("s", release="5.0", input_shape=(64, 64, channels))
    shapes = kyb.export_weights(model, tmp_path / "a.safetensors")
    assert shapes["model.0.conv.conv.weight"] == (32, 4 * channels, 3, 3)
    identity = kyb.identify(tmp_path / "a.safetensors")
    assert (identity.name, identity.channels) == ("v5-5.0-s", channels)
    other = kyb.from_checkpoint(tmp_path / "a.safetensors", input_shape=(64, 64, channels))
    for a, b in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["provenance"])["activation"] == "silu"


def test_a_network_that_is_not_in_the_zoo_is_refused_by_what_it_is(tmp_path):
    path = real_file(tmp_path / "ghost.pt", "m_yolov8n-ghost")
    with pytest.raises(kyb.CheckpointError, match="their backbone is made of Conv, GhostConv, C3Ghost, SPPF"):
        kyb.identify(path)


def test_a_network_of_a_width_of_its_own_is_named(tmp_path):
    """YOLOv9 has no multiples: its sizes are tables."""
    path, kernels = tmp_path / "custom.safetensors", networks()["v9-t"].kernels
    save_file({key: np.zeros((3 * shape[0], *shape[1:]), np.float16) for key, shape in kernels.items()}, path)
    with pytest.raises(kyb.CheckpointError, match=r"is a v9 with 1\.5 times the channels of v9-s; the zoo has "):
        kyb.from_checkpoint(path)


def test_identifying_loads_no_framework(relu6):
    code = f"""
import sys, time
from keras_yolo_backbones.cli import main
start = time.perf_counter()
main(["identify", {str(relu6)!r}])
print(time.process_time() < 2, "keras" in sys.modules, "tensorflow" in sys.modules)
"""
    printed = in_subprocess(code)
    assert printed.split()[-3:] == ["True", "False", "False"]
    assert 'kyb.v8("n", activation="relu6")' in printed
