"""Pictures of every kind that come in, and the ones that are refused."""

import contextlib
import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from spar_engine.errors import InputError, MissingDependency
from spar_engine.image import load_image


def painted(height=20, width=30):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(width, height, rows=b"", depth=8, colour=2):
    """A PNG file with any header one likes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_every_way_in_gives_the_same_pixels(tmp_path):
    pixels = painted()
    image = Image.fromarray(pixels)
    data = encoded(image)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with path.open("rb") as file:
        ways = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), file, image, pixels]
        for way in ways:
            got = load_image(way)
            assert got.dtype == np.uint8
            assert got.flags.c_contiguous
            np.testing.assert_array_equal(got, pixels)


def test_the_callers_array_is_not_shared():
    pixels = painted()
    load_image(pixels)[:] = 0
    image = Image.fromarray(pixels)
    load_image(image)[:] = 0
    assert pixels.any()
    assert np.asarray(image).any()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})])
def test_formats(kind, options):
    pixels = np.repeat(np.repeat(painted(3, 4), 16, axis=0), 16, axis=1)
    got = load_image(encoded(Image.fromarray(pixels), kind, **options))
    assert np.abs(got.astype(int) - pixels).mean() < (8 if kind == "JPEG" else 1e-9)


def test_exif_orientation():
    """All eight orientations describe the same upright picture."""
    upright = painted(16, 24)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(upright, -1),
    }  # fmt: skip
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(Image.fromarray(np.ascontiguousarray(pixels)), exif=exif.tobytes())
        np.testing.assert_array_equal(load_image(data), upright, err_msg=str(orientation))


def test_transparency_is_laid_over_white():
    pixels = np.zeros((2, 4, 4), np.uint8)
    pixels[..., :3] = (200, 100, 10)
    pixels[0, :, 3] = (0, 51, 100, 255)
    got = load_image(encoded(Image.fromarray(pixels)))
    np.testing.assert_array_equal(got[0], [(255, 255, 255), (244, 224, 206), (233, 194, 159), (200, 100, 10)])
    np.testing.assert_array_equal(load_image(pixels), got)


def test_transparent_palette_and_transparent_grey():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 0)
    got = load_image(encoded(image, transparency=0))
    np.testing.assert_array_equal(got[0, :2], [(255, 255, 255), (10, 20, 30)])
    grey = Image.new("LA", (4, 4), (60, 0))
    assert (load_image(encoded(grey)) == 255).all()


def test_grey_palette_and_bilevel():
    grey = painted()[..., 0]
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(grey))), np.repeat(grey[..., None], 3, axis=2))
    palette = Image.fromarray(painted()).quantize(8)
    np.testing.assert_array_equal(load_image(encoded(palette)), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(grey > 128)
    np.testing.assert_array_equal(load_image(encoded(bits))[..., 1], np.where(grey > 128, 255, 0))


def test_cmyk():
    image = Image.fromarray(painted()).convert("CMYK")
    np.testing.assert_array_equal(load_image(encoded(image, "JPEG")).shape, (20, 30, 3))


def test_sixteen_bits_are_rounded_to_eight():
    values = np.array([[0, 128, 129, 257], [385, 386, 65406, 65535]], np.uint16)
    want = np.array([[0, 0, 1, 1], [1, 2, 254, 255]])
    np.testing.assert_array_equal(load_image(encoded(Image.fromarray(values)))[..., 0], want)
    np.testing.assert_array_equal(load_image(values)[..., 2], want)
    wide = np.repeat(values[..., None], 3, axis=2)
    np.testing.assert_array_equal(load_image(wide)[..., 2], want)


def test_sixteen_bits_with_orientation():
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    exif = Image.Exif()
    exif[0x0112] = 3
    got = load_image(encoded(Image.fromarray(values), exif=exif.tobytes()))
    np.testing.assert_array_equal(got[..., 0], values[::-1, ::-1] // 257)


def test_arrays():
    pixels = painted()
    np.testing.assert_array_equal(load_image(pixels.astype(np.float32) / 255), pixels)
    np.testing.assert_array_equal(load_image(pixels[..., :1])[..., 2], pixels[..., 0])
    np.testing.assert_array_equal(load_image(pixels[:, ::-1]), pixels[:, ::-1])


def test_phone_pictures_with_a_second_frame():
    """MPO: a JPEG whose second frame is a preview or a depth map."""
    first, second = Image.fromarray(painted()), Image.fromarray(painted())
    data = encoded(first, "MPO", save_all=True, append_images=[second], quality=100)
    assert load_image(data).shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"shape \(3, 4, 5\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((4, 4, 3), np.int32), "is int32; pass uint8"),
        (np.zeros((4, 4, 3), bool), "is bool; pass uint8"),
        (np.full((4, 4, 3), 1.5), r"leaves 0 \.\. 1 or is not finite"),
        (np.full((4, 4, 3), np.nan, np.float32), r"leaves 0 \.\. 1 or is not finite"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels are too few"),
        (np.zeros((1, 1, 3), np.uint8), "1x1 pixels are too few"),
        (np.zeros((2, 20_000), np.uint8), "20000x2 pixels: a side is over the limit of 16384"),
    ],
)
def test_bad_arrays(array, message):
    with pytest.raises(InputError, match=message):
        load_image(array)


def animated(kind):
    frames = [Image.fromarray(painted() ^ n) for n in (0, 100, 200)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animated(kind):
    data = animated(kind)
    with pytest.raises(InputError, match="picture: animated, 3 frames; pass a single picture"):
        load_image(data)
    with pytest.raises(InputError, match="animated, 3 frames"):
        load_image(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("data", "kind"),
    [(animated("GIF"), "a GIF file"), (encoded(Image.new("RGB", (4, 4)), "BMP"), "a BMP file"),
     (encoded(Image.new("RGB", (4, 4)), "TIFF"), "a TIFF file"), (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC or AVIF"),
     (b"%PDF-1.7 ...........", "a PDF file"), (b"hello, this is no picture", "not a picture that can be read"),
     (b"\x89PNG\r\n\x1a\n", "not a picture that can be read")],
)  # fmt: skip
def test_other_formats(data, kind):
    with pytest.raises(InputError, match=f"picture: {kind}.*; use PNG, JPEG or WebP"):
        load_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_cut_short(kind, keep):
    data = encoded(Image.fromarray(painted(200, 300)), kind)
    with pytest.raises(InputError, match=r"damaged or cut short|not a picture that can be read") as caught:
        load_image(data[: int(len(data) * keep)])
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"damaged or cut short|not a picture"):
        load_image(io.BytesIO(data[: int(len(data) * keep)]))


def test_cut_short_pillow_image():
    data = encoded(Image.fromarray(painted(200, 300)), "JPEG")
    with pytest.raises(InputError, match="picture: damaged or cut short"):
        load_image(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_never_leak_another_error(kind):
    data = encoded(Image.fromarray(painted(60, 60)), kind)
    rng = np.random.default_rng(1)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(0, len(broken), 12):
            broken[place] = rng.integers(256)
        with contextlib.suppress(InputError):  # nothing but this or a picture
            assert load_image(bytes(broken)).shape[2] == 3


def test_a_huge_picture_is_refused_by_its_header():
    """30000 x 30000 would take 2.7 GB; the file itself has a hundred bytes."""
    with pytest.raises(InputError, match="900000000 pixels are over the limit of 178000000; scale it down"):
        load_image(png(30_000, 30_000))
    with pytest.raises(InputError, match="30000x30 pixels: a side is over the limit of 16384"):
        load_image(png(30_000, 30))
    with pytest.raises(InputError, match="40x30 pixels are 1200 in all, over the limit of 1000"):
        load_image(np.zeros((30, 40), np.uint8), max_pixels=1000)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 50), (50, 1)])
def test_too_small(width, height):
    with pytest.raises(InputError, match=f"{width}x{height} pixels are too few; use at least 2x2"):
        load_image(png(width, height, (b"\0" + bytes(3 * width)) * height))
    with pytest.raises(InputError, match="too few"):
        load_image(Image.new("RGB", (width, height)))


def test_zero_pixels():
    with pytest.raises(InputError):
        load_image(png(0, 5))
    with pytest.raises(InputError, match="0x5 pixels are too few"):
        load_image(Image.new("RGB", (0, 5)))


def test_elongated():
    with pytest.raises(InputError, match="201x2 pixels: one side is more than 100 times the other"):
        load_image(np.zeros((2, 201, 3), np.uint8))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.png: cannot be read: No such file or directory"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        load_image(tmp_path)
    with pytest.raises(InputError, match="picture: the file is empty"):
        load_image(b"")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: the file is empty"):
        load_image(str(tmp_path / "empty.jpg"))


@pytest.mark.parametrize("thing", [None, 7, [1, 2], object()])
def test_things_that_are_no_picture(thing):
    with pytest.raises(InputError, match="pass a path, bytes, binary file, Pillow image or numpy array"):
        load_image(thing)


def test_text_file_object():
    with pytest.raises(InputError, match="gave str; open it in binary mode"):
        load_image(io.StringIO("abc"))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_a_range(mode):
    with pytest.raises(InputError, match=f"Pillow mode {mode} has no fixed range"):
        load_image(Image.new(mode, (4, 4)))


def test_without_pillow(monkeypatch):
    data = png(4, 4, (b"\0" + bytes(12)) * 4)
    assert load_image(data).shape == (4, 4, 3)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingDependency, match="package `pillow`; install it with: pip install pillow"):
        load_image(data)
