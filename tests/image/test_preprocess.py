"""What the vision tower reads, against the golden pictures; tiling against a table of InternVL's rule."""

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.image import (
    bicubic,
    chat_pixels,
    crop,
    edit_pixels,
    normalise,
    reconstruct_pixels,
    reflect_pad,
    squash,
    tile_grid,
    tiles,
)

MODELS = ["spar-tiny", "unilip-tiny"]


def test_carried_edit_pixels(golden_tensors):
    want = golden_tensors("excerpts/unilip-tiny-edit")
    side = want["in.pixel_values"].shape[-1]
    np.testing.assert_array_equal(squash(want["in.raw"], side), want["in.resized"])
    np.testing.assert_array_equal(edit_pixels(want["in.raw"], side), want["in.pixel_values"])


@pytest.mark.parametrize("model", MODELS)
def test_golden_edit_pixels(model, golden_tensors):
    want = golden_tensors(f"{model}/edit")
    side = want["in.pixel_values"].shape[-1]
    np.testing.assert_array_equal(squash(want["in.raw"], (side, side)), want["in.resized"])
    np.testing.assert_array_equal(edit_pixels(want["in.raw"], side), want["in.pixel_values"])


@pytest.mark.parametrize("model", MODELS)
def test_golden_vision_pixels(model, golden_tensors):
    want = golden_tensors(f"{model}/vision")
    side = want["in.pixel_values"].shape[-1]
    np.testing.assert_array_equal(squash(want["in.raw_0"], side), want["in.resized_0"])
    np.testing.assert_array_equal(edit_pixels(want["in.raw_0"], side)[0], want["in.pixel_values"][0])


@pytest.mark.parametrize("name", ["spar-tiny/recon", "spar-tiny/recon_padded", "unilip-tiny/recon"])
def test_golden_reconstruction_pixels(name, golden_tensors):
    want = golden_tensors(name)
    side = want["in.pixel_values"].shape[-1]
    np.testing.assert_array_equal(crop(want["in.raw"], side), want["in.cropped"])
    np.testing.assert_array_equal(reconstruct_pixels(want["in.raw"], side), want["in.pixel_values"])


@pytest.mark.parametrize("model", MODELS)
def test_golden_chat_pixels(model, golden_tensors):
    want = golden_tensors(f"{model}/understand")
    np.testing.assert_array_equal(
        chat_pixels(want["in.raw"], want["in.pixel_values"].shape[-1], max_tiles=1), want["in.pixel_values"]
    )


def test_normalising_is_within_a_rounding_of_the_formula():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    want = ((image / 255 - mean) / std).transpose(2, 0, 1)
    for folded in (False, True):
        got = normalise(image, folded)
        assert got.dtype == np.float32
        assert got.shape == (3, 16, 16)
        # four float32 roundings on values below 2.7 (the difference before the division is below 0.6 / std)
        np.testing.assert_allclose(got, want, rtol=0, atol=4 * 2.7 * 2.0**-24 * 2)


def test_bicubic_goes_across_first():
    """The rounding between the passes tells their order: a tall picture that is widened and flattened."""
    image = np.random.default_rng(0).integers(0, 256, (120, 64, 3), dtype=np.uint8)
    stepwise = bicubic(bicubic(image, 120, 84), 84, 84)
    np.testing.assert_array_equal(bicubic(image, 84, 84), stepwise)
    assert (bicubic(bicubic(image, 84, 64), 84, 84) != stepwise).any()


def test_squash_to_a_rectangle():
    assert squash(np.zeros((50, 40, 3), np.uint8), (56, 112)).shape == (56, 112, 3)
    assert edit_pixels(np.zeros((50, 40, 3), np.uint8), (56, 112)).shape == (1, 3, 56, 112)


@pytest.mark.parametrize("shape", [(100, 100), (101, 100), (100, 333), (7, 5), (448, 449)])
def test_crop_is_square_and_central(shape):
    ramp = np.linspace(0, 255, shape[1])[None, :, None].repeat(shape[0], 0).repeat(3, 2).astype(np.uint8)
    got = crop(ramp, 28)
    assert got.shape == (28, 28, 3)
    assert abs(float(got[:, [0, -1]].mean()) - 127.5) < 255 / min(shape) + 2


def test_reflect_pad():
    pixels = np.arange(100 * 90, dtype=np.float32).reshape(1, 1, 100, 90)
    padded, padding = reflect_pad(pixels, 28)
    assert padded.shape == (1, 1, 112, 112)
    assert padding == (6, 6, 11, 11)
    np.testing.assert_array_equal(padding.cut(padded), pixels)
    np.testing.assert_array_equal(padded[0, 0, :6, 11], pixels[0, 0, 6:0:-1, 0])  # the edge itself is not repeated
    np.testing.assert_array_equal(padded[0, 0, 6, -11:], pixels[0, 0, 0, -2:-13:-1])


def test_reflect_pad_puts_the_smaller_half_first():
    _, padding = reflect_pad(np.zeros((3, 27, 29)), 28)
    assert padding == (0, 1, 13, 14)


def test_reflect_pad_leaves_multiples_alone():
    pixels = np.zeros((3, 56, 28))
    padded, padding = reflect_pad(pixels, 28)
    assert padding == (0, 0, 0, 0)
    np.testing.assert_array_equal(padding.cut(padded), pixels)


def test_reflect_pad_of_a_picture_without_enough_to_mirror():
    with pytest.raises(InputError, match="side of 9 pixels is too short to mirror up to 28"):
        reflect_pad(np.zeros((3, 9, 56)), 28)
    assert reflect_pad(np.zeros((3, 10, 56)), 28)[0].shape == (3, 28, 56)


@pytest.mark.parametrize(
    ("width", "height", "most", "want"),
    [
        (448, 448, 12, (1, 1)),  # ratio 1, and not over half of 2x2 tiles in pixels
        (896, 896, 12, (2, 2)),
        (640, 640, 12, (2, 2)),  # 409600 > 0.5 * 448^2 * 4 = 401408
        (633, 633, 12, (1, 1)),  # 400689 is not
        (1000, 1000, 12, (3, 3)),  # 10^6 > 0.5 * 448^2 * 9
        (1000, 1000, 6, (2, 2)),
        (800, 600, 12, (4, 3)),
        (600, 800, 12, (3, 4)),
        (1920, 1080, 12, (4, 2)),  # 16/9 is nearer to 2 than to 3/2; the larger of (2, 1) and (4, 2) for its pixels
        (460, 259, 12, (2, 1)),
        (3000, 300, 12, (10, 1)),
        (300, 3600, 12, (1, 12)),
        (9000, 300, 12, (12, 1)),
        (150, 97, 6, (3, 2)),
        (4000, 100, 1, (1, 1)),
    ],
)
def test_tile_grid(width, height, most, want):
    assert tile_grid(height, width, 448, most) == want


def test_tile_grid_against_the_original_rule():
    """The rule as InternVL writes it, over a set whose order among equal products must not matter."""

    def original(width, height, size, most):
        grids = {(i, j) for n in range(1, most + 1) for i in range(1, n + 1) for j in range(1, n + 1) if i * j <= most}
        best, distance = (1, 1), float("inf")
        for i, j in sorted(sorted(grids, reverse=bool(width % 2)), key=lambda grid: grid[0] * grid[1]):
            off = abs(width / height - i / j)
            if off < distance:
                best, distance = (i, j), off
            elif off == distance and width * height > 0.5 * size * size * i * j:
                best = (i, j)
        return best

    rng = np.random.default_rng(0)
    for _ in range(1500):
        width, height = (int(side) for side in rng.integers(2, 2000, 2))
        most = int(rng.integers(1, 13))
        assert tile_grid(height, width, 448, most) == original(width, height, 448, most), (width, height, most)


def test_tile_grid_with_a_least_number():
    across, down = tile_grid(448, 448, 448, 12, least=3)
    assert 3 <= across * down <= 12
    with pytest.raises(InputError, match="tiles from 5 to 4 make no range"):
        tile_grid(10, 10, 448, 4, least=5)
    with pytest.raises(InputError, match="tiles from 1 to 0"):
        tile_grid(10, 10, 448, 0)


def test_tiles_are_in_reading_order_with_a_thumbnail():
    size = 8
    image = np.zeros((2 * size, 3 * size, 3), np.uint8)
    for row in range(2):
        for column in range(3):
            image[row * size : (row + 1) * size, column * size : (column + 1) * size] = 40 * (3 * row + column)
    cut = tiles(image, size, 12)
    assert len(cut) == 7
    for number, tile in enumerate(cut[:6]):
        assert tile.shape == (size, size, 3)
        assert (tile == 40 * number).all()  # no resize was needed
    np.testing.assert_array_equal(cut[6], bicubic(image, size, size))
    assert len(tiles(image, size, 12, thumbnail=False)) == 6


def test_a_single_tile_has_no_thumbnail():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    cut = tiles(image, 16, 1)
    assert len(cut) == 1
    np.testing.assert_array_equal(cut[0], squash(image, 16))


def test_chat_pixels_of_several_tiles():
    image = np.random.default_rng(0).integers(0, 256, (60, 120, 3), dtype=np.uint8)
    got = chat_pixels(image, 28, max_tiles=4)
    assert got.shape == (3, 3, 28, 28)  # two across and the thumbnail
    np.testing.assert_array_equal(got[2], normalise(squash(image, 28)))
