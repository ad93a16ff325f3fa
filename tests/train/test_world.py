"""Scenes, pictures, words and edits of the world agree with each other, and training keeps off what is held out."""

import numpy as np
import pytest
from spar_train.world import edits, holdout, questions, sample, words
from spar_train.world.palette import (
    BACKGROUND_RGB,
    COLOUR_RGB,
    COLOURS,
    GRID,
    MAP_RGB,
    NUMBERS,
    QUADRANTS,
    SHAPES,
    SIDE,
)
from spar_train.world.scene import JITTERS, Scenes, instances, render, render_map


def one(shape="circle", colour="red", background="white", **place) -> Scenes:
    """A scene of one object in the first cell's middle unless `place` says otherwise."""
    from spar_train.world.palette import BACKGROUNDS

    scenes = Scenes.empty(1)
    scenes.count[:], scenes.background[:] = 1, BACKGROUNDS.index(background)
    scenes.shape[0, 0], scenes.colour[0, 0] = SHAPES.index(shape), COLOURS.index(colour)
    scenes.dx[0, 0] = scenes.dy[0, 0] = JITTERS // 2
    for name, value in place.items():
        getattr(scenes, name)[0, 0] = value
    return scenes


def test_same_seed_same_scenes():
    first, second = (sample.training_scenes(np.random.default_rng(5), 64) for _ in range(2))
    assert (render(first) == render(second)).all()
    assert not (render(first) == render(sample.training_scenes(np.random.default_rng(6), 64))).all()


def test_training_scenes_hold_nothing_held_out_and_held_out_scenes_do():
    rng = np.random.default_rng(0)
    assert not holdout.held_out(sample.training_scenes(rng, 500)).any()
    assert holdout.held_out(sample.held_out_scenes(rng, 100)).all()


def test_held_out_pair_and_relation_are_found_by_brute_force():
    """The rule in words, applied object by object, against the table look-ups."""
    scenes = sample.propose(np.random.default_rng(3), 300)
    held = holdout.held_out(scenes)
    for i in range(len(scenes)):
        n = scenes.count[i]
        kinds = [int(scenes.shape[i, s]) * len(COLOURS) + int(scenes.colour[i, s]) for s in range(n)]
        cells = [divmod(int(c), GRID) for c in scenes.cell[i, :n]]
        bad = any(
            c == (3 * s + 1) % len(COLOURS) for s, c in zip(scenes.shape[i, :n], scenes.colour[i, :n], strict=True)
        )
        bad |= n == 1 and bool(holdout.singles()[scenes.shape[i, 0], scenes.size[i, 0], scenes.background[i]])
        bad |= n == 2 and bool(holdout.shape_pairs()[scenes.shape[i, 0], scenes.shape[i, 1], scenes.background[i]])
        bad |= any(bool(holdout.counts()[kinds.count(k), k]) for k in kinds)
        for a in range(n):
            for b in range(n):
                if kinds[a] < kinds[b]:
                    (ra, ca), (rb, cb) = cells[a], cells[b]
                    code = holdout.pairs()[kinds[a], kinds[b]]
                    bad |= code == 0 or (code == 1 and ca < cb) or (code == 2 and ca > cb)
                    bad |= (code == 3 and ra < rb) or (code == 4 and ra > rb)
        assert bool(held[i]) == bad


@pytest.mark.parametrize("shape", SHAPES)
def test_picture_has_the_named_colours_in_the_right_cell(shape):
    picture = render(one(shape, "blue", "beige", cell=6, size=1))[0]
    assert picture.shape == (SIDE, SIDE, 3)
    assert (picture[0, 0] == BACKGROUND_RGB[3]).all()
    row, column = 28 + 14, 2 * 28 + 14  # middle of cell 6; inside every shape
    assert (picture[row, column] == COLOUR_RGB[COLOURS.index("blue")]).all()
    outside = picture.copy()
    outside[28:56, 56:84] = BACKGROUND_RGB[3]
    assert (outside == BACKGROUND_RGB[3]).all()


def test_edges_are_anti_aliased_and_centred():
    picture = render(one("circle", "red", "black", size=1))[0].astype(int)
    cell = picture[:28, :28, 0]
    levels = np.unique(cell)
    assert len(levels) > 4  # more than the two pure colours
    assert (cell == cell[::-1]).all()
    assert (cell == cell[:, ::-1]).all()


def test_maps_number_objects_in_reading_order():
    scenes = sample.training_scenes(np.random.default_rng(1), 50)
    assert (np.diff(np.where(scenes.present(), scenes.cell, 99), axis=1)[scenes.present()[:, 1:]] > 0).all()
    labels, painted = instances(scenes), render_map(scenes)
    for i in range(50):
        assert set(np.unique(labels[i])) == set(range(scenes.count[i] + 1))
        for slot in range(scenes.count[i]):
            colours = painted[i][labels[i] == slot + 1].astype(int)
            assert (np.abs(colours - MAP_RGB[slot]).max(1) <= 128).all()  # covered at least half


def test_description_lists_everything():
    scenes = sample.training_scenes(np.random.default_rng(2), 40)
    for i in range(40):
        text = words.plain(scenes, i)
        total = sum(n for n, _, _ in words.groups(scenes, i))
        assert total == scenes.count[i]
        for number, colour, shape in words.groups(scenes, i):
            assert words.counted(number, colour, shape) in text


def test_questions_have_true_answers():
    rng = np.random.default_rng(4)
    scenes = sample.training_scenes(rng, 200)
    for i in range(200):
        names = [f"{COLOURS[c]} {SHAPES[s]}" for c, s in zip(scenes.colour[i], scenes.shape[i], strict=True)]
        names = names[: scenes.count[i]]
        asked = questions.question(rng, scenes, i, "exists")
        noun = (
            asked[0]
            .removeprefix("Is there a ")
            .removeprefix("Is there an ")
            .removesuffix("?")
            .removesuffix(" in the image")
        )
        assert asked[1] == ("yes" if noun in names else "no")
        asked = questions.question(rng, scenes, i, "count")
        noun = asked[0].removeprefix("How many ").split(" are ")[0]
        colour = next((c for c in COLOURS if noun.startswith(c)), None)
        shape = next((s for s in SHAPES if f"{s}s" in noun or f"{s}es" in noun), None)
        found = sum((colour is None or n.startswith(colour)) and (shape is None or n.endswith(shape)) for n in names)
        assert asked[1] == NUMBERS[found]


def test_every_kind_of_question_is_asked():
    rng = np.random.default_rng(7)
    scenes = sample.training_scenes(rng, 60)
    for kind in questions.KINDS:
        assert sum(questions.question(rng, scenes, i, kind) is not None for i in range(60)) > 10


@pytest.mark.parametrize("kind", edits.KINDS)
def test_an_edit_changes_what_it_says_and_no_more(kind):
    rng = np.random.default_rng(11)
    before = sample.training_scenes(rng, 120)
    after, texts = edits.edit(rng, before, [kind] * 120)
    done = [i for i, t in enumerate(texts) if t]
    assert len(done) > 30
    for i in (i for i in range(120) if not texts[i]):
        assert (render(after.take([i])) == render(before.take([i]))).all()
    for i in done:
        changed = (render(before.take([i])) != render(after.take([i]))).any(-1)[0]
        cells = changed.reshape(GRID, 28, GRID, 28).any((1, 3))
        assert cells.any()
        least, most = {"background": (2, 16), "move": (2, 2)}.get(kind, (1, 1))
        assert least <= cells.sum() <= most
        assert after.count[i] - before.count[i] == {"add": 1, "remove": -1}.get(kind, 0)


def test_collages_keep_pictures_and_cells_together():
    from spar_train.stages.autoencoder import collages, pictures

    images, table = collages(np.random.default_rng(0), 12)
    corner = images[:, :1, :1]
    drawn = (images != corner).any(-1).reshape(12, GRID, 28, GRID, 28).any((2, 4)).reshape(12, -1)
    here = table[..., 0].numpy() > 0
    assert (drawn == here).all()
    assert here.sum(1).mean() > 6
    for i, cell in np.argwhere(here)[:40]:
        row, column = divmod(int(cell), GRID)
        middle = images[i, row * 28 + 14, column * 28 + 14]
        assert (middle == COLOUR_RGB[int(table[i, cell, 1])]).all()
        assert not holdout.objects()[int(table[i, cell, 0] - 1) * len(COLOURS) + int(table[i, cell, 1])]
    images, table, described = pictures(np.random.default_rng(1), 40)
    assert images.shape == (40, SIDE, SIDE, 3)
    assert table.shape == (40, GRID * GRID, 6)
    assert 0 < (~described).sum() < 20
    assert (images[~described][:, 0, 0] == 0).all()  # maps are on black


def test_unnamed_colours_stay_away_from_held_out_pairs_and_from_the_background():
    from spar_train.repaint import APART, repaint
    from spar_train.world.holdout import objects

    scenes = sample.training_scenes(np.random.default_rng(3), 400)
    paint, unnamed = repaint(np.random.default_rng(4), scenes, 0.5)
    present = scenes.present()
    assert not unnamed[~present].any()
    assert 0.4 < unnamed[present].mean() < 0.6
    held = objects().reshape(len(SHAPES), len(COLOURS)).argmax(1)
    for kept_away in (COLOUR_RGB[held][scenes.shape], BACKGROUND_RGB[scenes.background][:, None]):
        apart = np.linalg.norm(paint.astype(float) - kept_away, axis=-1)
        assert apart[unnamed].min() > APART - 2  # rounding to bytes
    assert np.array_equal(paint[~unnamed], COLOUR_RGB[scenes.colour][~unnamed])
    assert not np.array_equal(render(scenes, paint), render(scenes))


def test_what_an_addition_leaves_open_has_one_answer():
    before = sample.training_scenes(np.random.default_rng(2), 200)
    after, texts = edits.edit(np.random.default_rng(3), before, ["add"] * 200)
    for i in np.flatnonzero([t is not None for t in texts]):
        taken = set(before.cell[i, : before.count[i]].tolist())
        (new,) = set(after.cell[i, : after.count[i]].tolist()) - taken
        named = [q for q in QUADRANTS if q in texts[i]]
        free = [c for c in range(16) if c not in taken and (not named or words.quadrant(c) == named[0])]
        assert new == free[0]
        slot = after.cell[i].tolist().index(new)
        assert (after.size[i, slot], after.dx[i, slot], after.dy[i, slot]) == (1, 8, 8)
