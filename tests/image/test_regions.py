"""Regions of colour maps, and connected components against a flood fill."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from spar_engine.errors import InputError
from spar_engine.image import regions
from spar_engine.image.components import connected


def flood(labels):
    """Connected components by a queue, numbered in reading order."""
    numbers = np.full(labels.shape, -1)
    count = 0
    for start in np.ndindex(labels.shape):
        if numbers[start] < 0:
            numbers[start], queue = count, [start]
            while queue:
                row, column = queue.pop()
                for place in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                    inside = 0 <= place[0] < labels.shape[0] and 0 <= place[1] < labels.shape[1]
                    if inside and numbers[place] < 0 and labels[place] == labels[row, column]:
                        numbers[place] = count
                        queue.append(place)
            count += 1
    return numbers, count


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (17, 23), (40, 40)])
@pytest.mark.parametrize("colours", [1, 2, 3])
def test_components_against_flood_fill(shape, colours):
    for seed in range(5):
        labels = np.random.default_rng(seed).integers(0, colours, shape)
        got, count = connected(labels)
        want, expected = flood(labels)
        assert count == expected
        np.testing.assert_array_equal(got, want)


def test_components_of_a_spiral():
    """One part that winds: its runs meet late."""
    labels = np.zeros((21, 21), int)
    row, column, step = 0, 0, (0, 1)
    labels[0, 0] = 1
    for length in (20, 20, 20, 18, 18, 16, 16, 14, 14, 12, 12, 10, 10, 8, 8, 6, 6, 4, 4, 2, 2):
        for _ in range(length):
            row, column = row + step[0], column + step[1]
            labels[row, column] = 1
        step = (step[1], -step[0])
    got, count = connected(labels)
    want, expected = flood(labels)
    assert (count, count) == (expected, 2)
    np.testing.assert_array_equal(got, want)


COLOURS = np.array([[0, 0, 0], [230, 30, 30], [30, 200, 60], [60, 80, 240]])


def scene(side=224):
    """Background, two red squares, a green bar and a blue disc."""
    labels = np.zeros((side, side), int)
    labels[25:100, 30:110] = 1
    labels[200:215, 10:60] = 1
    labels[125:180, 15:200] = 2
    rows, columns = np.mgrid[:side, :side]
    labels[(rows - 60) ** 2 + (columns - 165) ** 2 < 35**2] = 3
    return labels


def drawn(labels, blur=1.0, noise=5.0):
    image = Image.fromarray(COLOURS[labels].astype(np.uint8)).filter(ImageFilter.GaussianBlur(blur))
    values = np.asarray(image) + np.random.default_rng(0).normal(0, noise, (*labels.shape, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def test_clean_map():
    labels = scene()
    found = regions(COLOURS[labels].astype(np.uint8), labels.shape)
    assert [tuple(region.colour) for region in found] == [tuple(COLOURS[n]) for n in (0, 2, 1, 3, 1)]
    numbers, count = flood(labels)
    areas = sorted(np.bincount(numbers.ravel(), minlength=count), reverse=True)
    assert [region.area for region in found] == areas
    assert found[1].box == (15, 125, 200, 180)
    assert found[2].box == (30, 25, 110, 100)
    for region in found:
        assert region.mask.dtype == bool
        assert region.mask.sum() == region.area
        rows, columns = np.nonzero(region.mask)
        assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert sum(region.mask.astype(int) for region in found).tolist() == np.ones(labels.shape, int).tolist()


def test_blurred_and_noisy_map_has_the_same_regions():
    labels = scene()
    clean = regions(COLOURS[labels].astype(np.uint8), labels.shape)
    found = regions(drawn(labels), labels.shape)
    assert len(found) == len(clean)
    for got, want in zip(found, clean, strict=True):
        assert np.abs(np.subtract(got.colour, want.colour)).max() < 24
        overlap = (got.mask & want.mask).sum() / (got.mask | want.mask).sum()
        assert overlap > 0.9


@pytest.mark.parametrize("size", [(448, 448), (300, 500), (97, 150), (56, 80)])
def test_scaling_to_the_source(size):
    found = regions(drawn(scene()), size)
    assert sum(region.area for region in found) == size[0] * size[1]
    for region in found:
        assert region.mask.shape == size
        assert region.mask.sum() == region.area
        rows, columns = np.nonzero(region.mask)
        assert region.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_specks_and_lines_go_to_their_neighbour():
    labels = np.zeros((100, 100), int)
    labels[20:80, 20:80] = 2
    labels[50, 50] = 1  # a speck inside the green
    labels[:, 10:12] = 3  # a line of two pixels through the black
    found = regions(COLOURS[labels].astype(np.uint8), labels.shape)
    assert [region.area for region in found] == [6400, 3600]
    assert found[1].mask[50, 50]
    thin = regions(COLOURS[labels].astype(np.uint8), labels.shape, thinnest=1)
    assert (0, 0, 10, 100) in [region.box for region in thin]
    assert (10, 0, 12, 100) in [region.box for region in thin]


def test_specks_go_where_they_touch_most():
    labels = np.zeros((60, 60), int)
    labels[:, 30:] = 2
    labels[20:24, 30:34] = 1  # in the green, one side on the black
    labels[40:44, 26:30] = 1  # in the black, one side on the green
    found = regions(COLOURS[labels].astype(np.uint8), labels.shape, least=0.008)
    assert sorted(region.box for region in found) == [(0, 0, 30, 60), (30, 0, 60, 60)]


def test_close_colours_are_one():
    image = np.full((40, 40, 3), 100, np.uint8)
    image[:, 20:] = 120
    assert len(regions(image, (40, 40))) == 1
    assert len(regions(image, (40, 40), distance=20)) == 2


def test_noise_has_no_regions():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert regions(image, (64, 64)) == []


def test_one_colour_is_one_region():
    (region,) = regions(np.full((8, 6, 3), 7, np.uint8), (16, 12))
    assert (region.colour, region.area, region.box) == ((7, 7, 7), 192, (0, 0, 12, 16))
    assert region.mask.all()


def test_result_does_not_depend_on_the_run():
    image = drawn(scene())
    first, second = regions(image, (224, 224)), regions(image, (224, 224))
    assert [(r.colour, r.area, r.box) for r in first] == [(r.colour, r.area, r.box) for r in second]


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (np.zeros((4, 4), np.uint8), {}),
        (np.zeros((4, 4, 3), np.float32), {}),
        (np.zeros((0, 4, 3), np.uint8), {}),
        (np.zeros((4, 4, 3), np.uint8), {"distance": 0}),
        (np.zeros((4, 4, 3), np.uint8), {"distance": float("nan")}),
        (np.zeros((4, 4, 3), np.uint8), {"least": 1.5}),
        (np.zeros((4, 4, 3), np.uint8), {"thinnest": 0}),
    ],
)
def test_bad_input(image, options):
    with pytest.raises(InputError):
        regions(image, (4, 4), **options)
