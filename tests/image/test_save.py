"""Files with their settings, whole or not at all."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from spar_engine.errors import InputError
from spar_engine.image import check_destination, encode_image, load_image, read_settings, save_image

SETTINGS = {
    "prompt": "ein Bär „im\nSchnee“ 🐻",
    "negative_prompt": None,
    "seed": 2**63 + 5,
    "guidance_scale": 4.5,
    "model": {"name": "spar-1b", "sha256": "00ff"},
}


def painted():
    return np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.webp"])
def test_settings_come_back(name, tmp_path):
    path = tmp_path / name
    save_image(painted(), path, SETTINGS)
    assert read_settings(path) == SETTINGS
    assert read_settings(str(path)) == SETTINGS
    assert read_settings(path.read_bytes()) == SETTINGS
    assert load_image(path).shape == (24, 32, 3)
    assert os.listdir(tmp_path) == [name]


def test_png_is_lossless_and_readable_by_others(tmp_path):
    save_image(painted(), tmp_path / "a.png", SETTINGS)
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), painted())
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Description"] == SETTINGS["prompt"]
        assert image.text["Software"] == "spar-engine"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_files_without_settings(kind):
    data = encode_image(painted(), kind)
    assert read_settings(data) is None
    assert load_image(data).shape == (24, 32, 3)


def test_foreign_settings_are_not_ours():
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0h\0i\0"}
    out = io.BytesIO()
    Image.fromarray(painted()).save(out, "JPEG", exif=exif.tobytes())
    assert read_settings(out.getvalue()) is None


def test_quality():
    assert len(encode_image(painted(), "JPEG", quality=30)) < len(encode_image(painted(), "JPEG", quality=95))
    assert len(encode_image(painted(), "WEBP", quality=30)) < len(encode_image(painted(), "WEBP", quality=95))


def test_settings_too_long_for_a_jpeg():
    settings = {"prompt": "long " * 20_000}
    with pytest.raises(InputError, match=r"JPEG: the settings do not fit: .*; save as PNG"):
        encode_image(painted(), "JPEG", settings)
    assert read_settings(encode_image(painted(), "PNG", settings)) == settings


def test_numbers_that_json_cannot_hold():
    for kind in ("PNG", "JPEG"):
        with pytest.raises(InputError, match="settings cannot be kept as JSON: Out of range"):
            encode_image(painted(), kind, {"guidance_scale": float("nan")})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("picture", r"unknown picture format ''; end the name in \.png, \.jpg, \.jpeg, \.webp"),
        ("picture.gif", r"unknown picture format '\.gif'"),
        ("missing/picture.png", "there is no directory .*missing; create it"),
        ("folder.png", "is a directory; name a file"),
    ],
)
def test_bad_destinations(name, message, tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=message):
        check_destination(tmp_path / name)
    with pytest.raises(InputError, match=message):
        save_image(painted(), tmp_path / name)
    assert os.listdir(tmp_path) == ["folder.png"]


def test_read_only_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(InputError, match="cannot be written to; choose another"):
        save_image(painted(), tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("failing", ["write_bytes", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(failing, tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(self, *data):
        if failing == "write_bytes":
            with open(self, "wb") as file:
                file.write(data[0][:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, failing, full)
    with pytest.raises(InputError, match=r"a\.png: cannot be written: No space left on device"):
        save_image(painted(), path, SETTINGS)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["a.png"]
    assert path.read_bytes() == b"old"


def test_bad_pictures():
    with pytest.raises(InputError, match=r"picture is float32 \(4, 4, 3\); pass"):
        encode_image(np.zeros((4, 4, 3), np.float32), "PNG")
    with pytest.raises(InputError, match=r"pass \[rows, columns, 3\] uint8"):
        encode_image(np.zeros((4, 4), np.uint8), "PNG")


def test_settings_of_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"a\.png: its settings cannot be read"):
        read_settings(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.png: its settings cannot be read"):
        read_settings(tmp_path / "b.png")
