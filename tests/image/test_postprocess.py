"""Pictures from the decoder's floats, against the golden ones; bilinear against torch."""

import numpy as np
import pytest
from spar_engine.image import bilinear, nearest, pictures, reconstructed_pictures, reconstruction, reflect_pad, unit


@pytest.mark.parametrize("name", ["spar-tiny/t2i_0", "spar-tiny/edit", "unilip-tiny/t2i_0", "unilip-tiny/edit"])
def test_golden_generated_picture(name, golden_tensors):
    want = golden_tensors(name)
    got = unit(want["decoded"])[0].transpose(1, 2, 0)
    # three products and sums of values up to 1 in float32
    np.testing.assert_allclose(got, want["image_resized"], rtol=0, atol=4 * 2.0**-24)
    np.testing.assert_array_equal(pictures(want["decoded"])[0], want["image_uint8"])


@pytest.mark.parametrize("name", ["spar-tiny/recon", "spar-tiny/recon_padded", "unilip-tiny/recon"])
def test_golden_reconstruction(name, golden_tensors):
    want = golden_tensors(name)
    padding = reflect_pad(want["in.pixel_values"])[1] if name.endswith("padded") else None
    got = reconstruction(want["decoded"], padding)
    assert got.shape == want["image"].shape
    np.testing.assert_allclose(got, want["image"], rtol=0, atol=8 * 2.0**-24 * np.abs(want["decoded"]).max())
    np.testing.assert_array_equal(reconstructed_pictures(got)[0], want["image_uint8"])
    np.testing.assert_array_equal(reconstructed_pictures(want["image"])[0], want["image_uint8"])


def test_native_size_is_clamped_but_not_resized():
    decoded = np.array([-3.0, -1.0, 0.0, 0.5, 1.0, 9.0, -0.25, 0.25], np.float32).reshape(1, 1, 2, 4).repeat(3, 1)
    want = [[0, 0, 128, 191], [255, 255, 96, 159]]  # 127.5 rounds to 128, 95.625 to 96
    np.testing.assert_array_equal(pictures(decoded, native=True)[0, ..., 0], want)


def test_halves_round_to_even():
    values = np.array([float.fromhex("0x1.252524p-1"), float.fromhex("0x1.292926p-1"), 0], np.float32)
    exact = (values * np.float32(0.5) + np.float32(0.5)) * np.float32(255)
    np.testing.assert_array_equal(exact, [200.5, 201.5, 127.5])  # else the case tests nothing
    decoded = values.reshape(1, 1, 1, 3).repeat(3, 1)
    np.testing.assert_array_equal(pictures(decoded, native=True)[0, 0, :, 0], [200, 202, 128])


def test_reconstruction_is_truncated():
    values = (2 * np.array([10.2, 10.9, -5, 300]) / 255 - 1).astype(np.float32).reshape(1, 1, 1, 4).repeat(3, 1)
    np.testing.assert_array_equal(reconstructed_pictures(values)[0, 0, :, 0], [10, 10, 0, 255])


def test_batches_and_rectangles():
    decoded = np.random.default_rng(0).standard_normal((2, 3, 64, 96), dtype=np.float32)
    got = pictures(decoded)
    assert got.shape == (2, 56, 84, 3)
    np.testing.assert_array_equal(got[1], pictures(decoded[1:])[0])


@pytest.mark.parametrize("like_torch", [False, True])
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(
    ("size", "wanted"), [((64, 96), (56, 84)), ((7, 5), (13, 21)), ((9, 9), (1, 9)), ((5, 1), (5, 4))]
)
def test_bilinear_against_torch(size, wanted, align, like_torch):
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).standard_normal((2, 3, *size), dtype=np.float32)
    got = bilinear(image, *wanted, like_torch=like_torch, align_corners=align)
    exact = functional.interpolate(
        torch.tensor(image, dtype=torch.float64), wanted, mode="bilinear", align_corners=align
    )
    # a weight is wrong by the rounding of a sample's place, at most `size`; values differ by at most twice the largest
    bound = 8 * 2.0**-24 * np.abs(image).max() * (max(size) if like_torch else 1)
    np.testing.assert_allclose(got, exact.numpy(), rtol=0, atol=bound)
    if like_torch:
        same = functional.interpolate(torch.tensor(image), wanted, mode="bilinear", align_corners=align).numpy()
        np.testing.assert_allclose(got, same, rtol=0, atol=8 * 2.0**-24 * np.abs(image).max())


def test_bilinear_to_the_same_size_changes_nothing():
    image = np.random.default_rng(0).standard_normal((3, 8, 9), dtype=np.float32)
    np.testing.assert_array_equal(bilinear(image, 8, 9), image)
    np.testing.assert_array_equal(bilinear(image, 8, 9, align_corners=True), image)


def test_nearest_repeats_values():
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(nearest(image, 4, 6), image.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(nearest(image, 1, 1), [[4]])  # the middle, half-pixel centres
