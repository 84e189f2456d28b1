"""Reading photographs: kinds of files, orientation; letterboxing and the way back."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_image

import keras_yolo_backbones as kyb
from keras_yolo_backbones import images, letterboxes
from keras_yolo_backbones.images import decode, find_images, read_image
from keras_yolo_backbones.letterboxes import letterbox
from keras_yolo_backbones.orientation import jpeg_orientation
from keras_yolo_backbones.webp import webp_size


def saved(pixels, kind, orientation=None, **options):
    """An image file's bytes; `orientation` goes into its EXIF data."""
    content, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x010F], exif[0x0112] = "a camera", orientation
        options["exif"] = exif
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def scene(photographs):
    """A photograph that is neither square nor symmetric."""
    return np.ascontiguousarray(photographs[0][:40])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpegs_are_turned_upright_in_python_and_in_a_graph(tmp_path, scene, orientation):
    content = saved(scene, "JPEG", orientation, quality=95)
    flat = tf.io.decode_jpeg(content, 3).numpy()
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }.get(orientation)
    wanted = flat if turn is None else np.asarray(Image.fromarray(flat).transpose(turn))
    (tmp_path / "a.jpg").write_bytes(content)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), wanted)
    in_graph = tf.function(decode, input_signature=[tf.TensorSpec((), tf.string)])
    np.testing.assert_array_equal(in_graph(tf.constant(content)), wanted)


def big_endian_exif(orientation):
    entry = (0x0112).to_bytes(2, "big") + (3).to_bytes(2, "big") + (1).to_bytes(4, "big")
    return b"Exif\0\0MM\0*" + (8).to_bytes(4, "big") + b"\0\1" + entry + orientation.to_bytes(2, "big") + b"\0\0"


def test_orientation_of_every_kind_of_file(scene):
    plain = saved(scene, "JPEG")
    segment = big_endian_exif(6)
    header = b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment
    other = b"\xff\xe1" + (20).to_bytes(2, "big") + b"http://ns.adobe.co"
    files = {
        plain: 1,
        plain[:2] + header + plain[2:]: 6,
        plain[:2] + other + header + plain[2:]: 6,  # XMP comes in the same kind of segment
        plain[:2] + header.replace(b"\0\6", b"\0\x63") + plain[2:]: 1,  # no orientation is called 99
        plain + header: 1,
        saved(scene, "PNG"): 1,
        plain[:3]: 1,
        plain[:2] + header[:12]: 1,
        b"": 1,
        b"\xff\xd8\xff\xe1\xff\xff": 1,
    }
    assert [int(jpeg_orientation(tf.constant(file))) for file in files] == list(files.values())


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("TIFF", {}), ("BMP", {}), ("PNG", {})])
def test_other_kinds_are_read(tmp_path, scene, kind, options):
    file = tmp_path / f"a.{kind.lower()}"
    file.write_bytes(saved(scene, kind, **options))
    np.testing.assert_array_equal(read_image(file), scene)
    assert find_images(tmp_path) == [file]
    if kind in ("WEBP", "TIFF"):
        file.write_bytes(saved(scene, kind, 6, **options))
        np.testing.assert_array_equal(read_image(file), np.rot90(scene, -1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_what_would_fill_memory_is_refused_by_its_header(tmp_path, scene, kind):
    file = tmp_path / "a.image"
    file.write_bytes(saved(scene, kind))
    assert read_image(file).shape == scene.shape
    with pytest.raises(ValueError, match=r"2560.*pixels, more than the limit of.*2559"):
        read_image(file, max_pixels=2559)


def test_sizes_of_all_kinds_of_webp(scene):
    for options in ({"lossless": True}, {"quality": 50}, {"orientation": 6}):
        assert webp_size(saved(scene, "WEBP", **options)) == (64, 40)
    frames, content = [Image.fromarray(scene), Image.fromarray(255 - scene)], io.BytesIO()
    frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match="animated WebP files are not read"):
        webp_size(content.getvalue())
    with pytest.raises(ValueError, match="says no size"):
        webp_size(saved(scene, "WEBP")[:22])


def test_what_cannot_be_read_is_named(tmp_path, scene, monkeypatch):
    (tmp_path / "a.tif").write_bytes(saved(scene, "TIFF"))
    (tmp_path / "b.heic").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(saved(scene, "PNG"))
    with pytest.warns(UserWarning, match=r"cannot be read are left out: b\.heic; convert others to JPEG or PNG"):
        assert [file.name for file in find_images(tmp_path)] == ["a.tif", "c.png"]
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda _: None)
    with pytest.warns(UserWarning, match=r"left out: a\.tif, b\.heic; install pillow to read TIFF"):
        assert [file.name for file in find_images(tmp_path)] == ["c.png"]
    (tmp_path / "d.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(ValueError, match=r"d\.tif is no readable image"):
        read_image(tmp_path / "d.tif")


def test_letterbox_keeps_proportions(photographs):
    boxed = letterbox(photographs[0][:32], 128, 128)
    assert (boxed.image.shape, boxed.scale, boxed.top, boxed.left) == ((128, 128, 3), 2.0, 32, 0)
    assert (boxed.image[:32] == 114).all()
    assert (boxed.image[96:] == 114).all()
    assert letterbox(photographs[0], 64, 64).image.tolist() == photographs[0].tolist()


def test_odd_files_are_read_as_rgb(tmp_path, photographs):
    grey = photographs[0][..., :1]
    rgba = np.concatenate([photographs[0], grey], -1)
    deep = photographs[0].astype(np.uint16) * 257
    for name, image in (("grey", grey), ("rgba", rgba), ("deep", deep)):
        path = tmp_path / f"{name}.png"
        path.write_bytes(tf.io.encode_png(image).numpy())
        expected = np.repeat(grey, 3, -1) if name == "grey" else photographs[0]
        np.testing.assert_array_equal(read_image(path), expected)


def test_boxes_come_back_to_the_image(photographs):
    image = np.repeat(photographs[0], 3, 1)  # 64×192
    frame = kyb.letterbox(image, 96, 96)
    assert (frame.scale, frame.top, frame.left, frame.size) == (0.5, 32, 0, (64, 192))
    boxes = [[10, 40, 30, 60], [-5, 0, 200, 200]]
    np.testing.assert_array_equal(kyb.unletterbox(boxes, frame), [[20, 16, 60, 56], [0, 0, 192, 64]])
    assert kyb.unletterbox(np.zeros((0, 4)), frame).shape == (0, 4)
    with pytest.raises(kyb.ArgumentError, match=r"boxes are \(…, 4\)"):
        kyb.unletterbox([1, 2, 3], frame)


@pytest.mark.parametrize("colour", [(1, 2, 3), (114, 114, 114)])
def test_bars_of_any_colour_are_the_same_in_a_graph(photographs, colour):
    content = saved(photographs[0][:32], "PNG")
    frame = letterbox(photographs[0][:32], 64, 64, padding=colour)
    assert frame.image[0, 0].tolist() == list(colour)
    in_graph, scale, padding, size = letterboxes.letterbox_file(tf.constant(content), 64, 64, colour)
    np.testing.assert_array_equal(in_graph, frame.image)
    assert (float(scale), padding.numpy().tolist(), size.numpy().tolist()) == (1.0, [16, 0], [32, 64])


@pytest.mark.parametrize(
    ("frame", "sides"),
    [
        ((330, 330), (427, 640)),
        ((320, 320), (214, 320)),
        ((330, 220), (427, 640)),  # it would fit if it were lying on its side
        ((320, 200), (214, 320)),
        ((96, 96), (107, 160)),
        ((8, 8), (54, 80)),
    ],
)
def test_large_jpegs_are_decoded_no_smaller_than_the_frame_needs(frame, sides):
    file = tf.io.encode_jpeg(load_sample_image("china.jpg"), quality=95)
    image = decode(file, frame=frame)
    assert image.shape[:2] == sides
    whole, reduced = (letterboxes.fitted(pixels, *frame, (0, 0, 0))[0] for pixels in (decode(file), image))
    error = np.abs(np.float32(whole) - np.float32(reduced)).mean()
    assert error == 0 if sides == (427, 640) else 0 < error < 4


def test_other_kinds_are_decoded_whole(photographs):
    image = decode(tf.constant(saved(photographs[0], "PNG")), frame=(8, 8))
    np.testing.assert_array_equal(image, photographs[0])


def test_only_pixels_are_letterboxed(photographs):
    with pytest.raises(
        kyb.ArgumentError, match=r"uint8 array \(height, width, channels\) of pixels 0…255, not float32"
    ):
        kyb.letterbox(photographs[0].astype(np.float32), 64, 64)
