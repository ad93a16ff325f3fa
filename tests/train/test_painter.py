"""What the DiT is told before anything understands words: slots that say what the words say, and no more."""

import numpy as np
import pytest
import torch
from spar_bench.quality import tasks
from spar_train import monitor, slots
from spar_train.heads import Painted
from spar_train.world import sample, words
from spar_train.world.palette import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES
from spar_train.world.words import Asked, Part

FIELDS = list(slots.FIELDS)


@pytest.fixture(scope="module")
def requests():
    rng = np.random.default_rng(5)
    scenes = sample.training_scenes(rng, 300, sample.REQUESTED)
    return scenes, [words.ask(rng, scenes, i) for i in range(300)]


@pytest.fixture(scope="module")
def painted():
    torch.manual_seed(0)
    return Painted(16, 32, 24)


def test_a_scene_fulfils_its_request(requests):
    scenes, asked = requests
    for i, request in enumerate(asked):
        objects = list(zip(scenes.shape[i], scenes.colour[i], scenes.size[i], strict=True))[: scenes.count[i]]
        assert sum(p.number for p in request.parts) == len(objects)
        assert request.background in (None, scenes.background[i])
        for part in request.parts:
            fits = [o for o in objects if o[0] == part.shape and part.colour in (None, o[1])]
            assert len(fits) >= part.number
            assert part.size in (None, *(o[2] for o in fits))
    kinds = {(len(r.parts), r.relation is not None, r.parts[0].size is not None) for r in asked}
    assert {(1, False, True), (1, False, False), (2, True, False), (2, False, False)} <= kinds


def test_words_say_what_is_asked(requests):
    rng = np.random.default_rng(1)
    for request in requests[1]:
        text = request.words(rng)
        for part in request.parts:
            assert SHAPES[part.shape] in text
            assert part.colour is None or COLOURS[part.colour] in text
            assert part.size is None or SIZES[part.size] in text
        assert (request.background is not None) == any(b in text for b in BACKGROUNDS)
        if request.relation is not None:
            assert any(w in text for w in words.RELATION_WORDS[RELATIONS[request.relation]])


def test_slots_hold_every_object_and_both_sides_of_a_relation():
    star, square = Part(1, SHAPES.index("star"), COLOURS.index("red")), Part(1, SHAPES.index("square"))
    table = slots.table([Asked((star, square), RELATIONS.index("above"), 2), None, Asked((Part(3, 0, 1),))], 16)
    first = dict(zip(FIELDS, table[0].T, strict=True))
    assert first["kind"][:4].tolist() == [slots.SCENE, slots.OBJECT, slots.OBJECT, slots.NOTHING]
    assert first["shape"][:3].tolist() == [0, 1 + SHAPES.index("star"), 1 + SHAPES.index("square")]
    assert first["colour"][:3].tolist() == [0, 1, 0]
    assert first["relation"][1:3].tolist() == [1 + RELATIONS.index("above"), 1 + RELATIONS.index("below")]
    assert (first["background"][0], first["number"][0]) == (3, 2)
    again = slots.table([Asked((square, star), RELATIONS.index("below"), 2)], 16)
    assert (again[0] == table[0]).all()
    assert table[1, 0, 0] == slots.ANYTHING
    assert not table[1, 1:].any()
    assert table[2, 0, FIELDS.index("number")] == 3
    assert (table[2, 1:4] == table[2, 1]).all()


def test_unused_slots_say_the_same_nothing(painted):
    rows = painted.requests([Asked((Part(2, 3, 4),)), None])
    assert rows.shape == (2, 16, 24)
    torch.testing.assert_close(rows[0, 3:], painted.nothing().expand(13, -1))
    torch.testing.assert_close(rows[1, 1:], painted.nothing().expand(15, -1))
    assert not torch.allclose(rows[0, 1], rows[0, 2])  # equal objects are told apart by their place
    assert not torch.allclose(rows[0, 0], rows[1, 0])


def test_a_change_of_one_cell_changes_its_row_alone(painted):
    latent = torch.randn(1, 32, 4, 4)
    other = latent.clone()
    other[0, :, 2, 1] += 1
    changed = (painted.pictures(latent) != painted.pictures(other)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [2 * 4 + 1]


def test_requests_of_the_evaluation_become_the_same_slots():
    """A request in words and what the judge checks are two views of one thing; its slots are a third."""
    for category in tasks.CATEGORIES:
        for request in tasks.requests(category, 12):
            asked = monitor.in_slots(request)
            table = slots.table([asked], 16)[0]
            assert table[0, FIELDS.index("number")] == sum(w.number for w in request.wanted)
            assert (request.background is None) == (table[0, FIELDS.index("background")] == 0)
            said = asked.words(np.random.default_rng(0))
            assert all(w.words() in said for w in request.wanted if w.large is None)
            assert (request.relation is None) == (not table[:, FIELDS.index("relation")].any())
