"""Requests, edits and statistics: right pictures pass, wrong ones fail."""

import numpy as np
import pytest
from spar_bench.quality import editing, fidelity, judge, stats, tasks
from spar_train.world import edits, holdout
from spar_train.world.palette import BACKGROUNDS, COLOURS, SHAPES
from spar_train.world.scene import JITTERS, Scenes, render


def scene_of(request: tasks.Request, *, spoil: str | None = None) -> Scenes:
    """A scene that fulfils a request, or misses it in one way."""
    scenes = Scenes.empty(1)
    scenes.background[:] = BACKGROUNDS.index(request.background or "white")
    scenes.dx[:] = scenes.dy[:] = JITTERS // 2
    objects = [w for w in request.wanted for _ in range(w.number)]
    scenes.count[:] = len(objects)
    cells = {"left of": (4, 6), "right of": (6, 4), "above": (1, 9), "below": (9, 1)}.get(
        request.relation, (0, 2, 5, 11, 14)
    )
    for slot, want in enumerate(objects):
        scenes.shape[0, slot] = SHAPES.index(want.shape)
        scenes.colour[0, slot] = COLOURS.index(want.colour or "green")
        scenes.size[0, slot] = 1 if want.large is None else int(want.large)
        scenes.cell[0, slot] = cells[slot]
    if spoil == "shape":
        scenes.shape[0, 0] = (scenes.shape[0, 0] + 1) % len(SHAPES)
    if spoil == "swap":
        scenes.cell[0, [0, 1]] = scenes.cell[0, [1, 0]]
    if spoil == "more":
        scenes.count += 1
        for values in (scenes.shape, scenes.colour, scenes.size):
            values[0, len(objects)] = values[0, 0]
        scenes.cell[0, len(objects)] = 15
    return scenes.sort()


@pytest.mark.parametrize("category", tasks.CATEGORIES)
def test_right_pictures_pass_and_wrong_ones_fail(category):
    for request in tasks.requests(category, 12):
        scenes = scene_of(request)
        (seen,) = judge.observe(render(scenes))
        assert request.fulfilled(seen)
        assert request.exact(seen)
        (seen,) = judge.observe(render(scene_of(request, spoil="shape")))
        assert not request.fulfilled(seen)
        if category == "position":
            (seen,) = judge.observe(render(scene_of(request, spoil="swap")))
            assert not request.fulfilled(seen)
        if category == "counting" and request.wanted[0].number < 5:
            (seen,) = judge.observe(render(scene_of(request, spoil="more")))
            assert not request.fulfilled(seen)


@pytest.mark.parametrize("category", tasks.CATEGORIES)
def test_every_request_is_a_held_out_composition(category):
    for request in tasks.requests(category, 40, seed=3):
        assert holdout.held_out(scene_of(request)).all(), request


@pytest.mark.parametrize("kind", edits.KINDS)
def test_edits_are_judged_by_their_result(kind):
    made = editing.held_out_edits(kind, 12)
    seen = judge.observe(np.concatenate([render(e.after) for e in made]))
    same = judge.observe(np.concatenate([render(e.before) for e in made]))
    for edit, right, unchanged in zip(made, seen, same, strict=True):
        assert holdout.held_out(edit.after).all()
        assert edit.done(right), edit.instruction
        assert not edit.done(unchanged), edit.instruction
        assert edit.kept(right, render(edit.after)[0]) == 80.0
        grey = np.full((112, 112, 3), 200, np.uint8)
        assert edit.kept(right, grey) < 24


def test_wilson_interval():
    found = stats.share([True] * 8 + [False] * 2)  # published example: 0.49 .. 0.94
    assert found["low"] == pytest.approx(0.4902, abs=1e-4)
    assert found["high"] == pytest.approx(0.9433, abs=1e-4)
    assert stats.share([True] * 5)["high"] == pytest.approx(1.0)


def test_fidelity_of_known_differences():
    a = np.full((20, 20, 3), 100, np.uint8)
    b = a + np.uint8(51)  # 0.2 of the range
    assert fidelity.l1(a, b) == pytest.approx(0.2)
    assert fidelity.psnr(a, b) == pytest.approx(-20 * np.log10(0.2))
    assert fidelity.psnr(a, a) == 80.0
    assert fidelity.ssim(a, a) == pytest.approx(1.0)
    x, y = 100 / 255, 151 / 255  # flat pictures: only the luminance term is left
    assert fidelity.ssim(a, b) == pytest.approx((2 * x * y + 1e-4) / (x * x + y * y + 1e-4))
