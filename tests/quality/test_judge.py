"""The judge on pictures whose content is known; its scores are worth no more than this."""

import numpy as np
import pytest
from spar_bench.quality import evaluate, judge, maps
from spar_bench.quality.regions import connected
from spar_train.world import sample
from spar_train.world.scene import instances, render, render_map


def test_judge_names_at_least_99_percent_of_ground_truth():
    found = evaluate.judge_accuracy(100, seed=1)
    assert found["plain"]["value"] >= 0.99
    assert found["soft"]["value"] >= 0.99  # 28/32 resize, blur, noise


def test_judge_sees_what_is_wrong():
    """A third of the objects painted over: those scenes, and only those, must fail."""
    scenes = sample.propose(np.random.default_rng(2), 60)
    pictures = render(scenes)
    spoiled = np.arange(60) % 3 == 0
    for i in np.flatnonzero(spoiled):
        row, column = divmod(int(scenes.cell[i, 0]), 4)
        pictures[i, row * 28 : row * 28 + 28, column * 28 : column * 28 + 28] = pictures[i, 0, 0]
    right = evaluate.named(scenes, judge.observe(pictures))
    assert (np.array(right) == ~spoiled).all()


def test_a_blob_has_no_shape_and_a_speck_is_no_object():
    picture = np.full((112, 112, 3), 245, np.uint8)
    picture[20:24, 10:60] = (220, 40, 40)  # a long bar
    picture[80:83, 80:83] = (45, 90, 220)  # nine pixels
    (seen,) = judge.observe(picture[None])
    assert [(o.shape, o.colour) for o in seen.objects] == [(None, "red")]


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"uint8\[2, 64, 64, 3\]"):
        judge.observe(np.zeros((2, 64, 64, 3), np.uint8))


def test_regions_against_a_flood_fill():
    rng = np.random.default_rng(0)
    keys = rng.integers(-1, 2, (3, 17, 23))
    labels = connected(keys)
    for picture, marks in zip(keys, labels, strict=True):
        assert ((marks > 0) == (picture >= 0)).all()
        for start in np.argwhere(picture >= 0):
            region, todo = {tuple(start)}, [tuple(start)]
            while todo:
                r, c = todo.pop()
                for q in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                    inside = 0 <= q[0] < 17 and 0 <= q[1] < 23
                    if inside and q not in region and picture[q] == picture[r, c]:
                        region.add(q)
                        todo.append(q)
            assert {tuple(p) for p in np.argwhere(marks == marks[tuple(start)])} == region


def test_maps_score_one_on_truth_and_matching_forgives_the_order_of_colours():
    scenes = sample.propose(np.random.default_rng(3), 20)
    truth = instances(scenes)
    for label, true in zip(maps.regions(render_map(scenes)), truth, strict=True):
        matched, ordered = maps.instance_iou(label, true)
        assert matched > 0.93
        assert ordered > 0.93
        turned = np.where(label > 0, label % 5 + 1, 0)
        assert maps.instance_iou(turned, true) == (matched, 0.0)
    assert maps.instance_iou(np.zeros_like(truth[0]), truth[0]) == (0.0, 0.0)
