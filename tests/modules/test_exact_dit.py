"""Exact rewrites of the DiT, against the plain one with masks, in float64."""

from __future__ import annotations

import pytest
import torch
from spar_engine.modules import cuts

TOKENS = 7


@pytest.fixture(params=["sincos", "none"])
def pair(request, odd_with):
    return odd_with(position=request.param)


def grid(rows: int = 2, columns: int = 5):
    return rows, columns


def step(pair, latent, times, captions, lengths, branches, cut=None):
    """One step by the cuts: context and modulation once, then the shared first block."""
    keys, values = pair.cut("context")(captions)
    modulation, final = pair.cut("modulation")(torch.as_tensor(times, dtype=torch.float32))
    index = torch.as_tensor
    (velocity,) = (cut or pair.cut("dit"))(latent, modulation, final, index(branches), keys, values, index(lengths))
    return velocity


def masked(model, dtype, latent, times, captions, lengths, branches):
    """The same by the plain form: every branch has its latent, its timestep, its padded caption."""
    branches, times = torch.as_tensor(branches), torch.as_tensor(times, dtype=torch.float32)
    mask = torch.arange(captions.shape[1]) < torch.as_tensor(lengths)[:, None]
    return model.velocity(latent.to(dtype)[branches], times[branches], captions.to(dtype), mask.to(dtype))


CASES = {
    "guided": ([999.0], [0, 0], [TOKENS, 4]),  # E7: two branches of one latent
    "one-branch": ([520.0], [0], [TOKENS]),  # E22
    "several-pictures": ([700.0, 700.0, 700.0], [0, 1, 2, 0, 1, 2], [TOKENS] * 3 + [5] * 3),  # E11
    "other-steps": ([999.0, 37.5], [1, 0, 0], [3, TOKENS, 1]),  # rows of different requests
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [(2, 5), (4, 3), (1, 1)])
def test_step(pair, case, size):
    """E1, E2, E3, E7, E11, E14: hoisted context and tables, shared first block, no key bias, moved value bias."""
    times, branches, lengths = CASES[case]
    latent, captions = pair.normal(len(times), 4, *size), pair.normal(len(branches), TOKENS, 28)
    got = step(pair, latent, times, captions, lengths, branches)
    pair.check(got, lambda *form: masked(*form, latent, times, captions, lengths, branches))


def test_prepared_constants(odd):
    """E14: the moved bias is the same when it was computed before, and it is not zero."""
    latent, captions = odd.normal(1, 4, 2, 3), odd.normal(1, TOKENS, 28)
    cut = odd.cut("dit")
    fresh = step(odd, latent, [400.0], captions, [TOKENS], [0], cut)
    prepared = step(odd, latent, [400.0], captions, [TOKENS], [0], cuts.prepare(cut))
    assert torch.equal(fresh, prepared)
    for block in cut.model.dit.transformer_blocks:
        assert (block.attn2.folded()["bias"] - block.attn2.to_out[0].bias).abs().max() > 1e-4


def test_a_table_of_timesteps_is_its_rows(odd):
    """E3: the vectors of a whole schedule equal those of each timestep."""
    times = torch.tensor([999.0, 666.0, 136.0, 0.5])
    modulation = odd.cut("modulation")
    whole = modulation(times)
    for row in range(4):
        for table, one in zip(whole, modulation(times[row : row + 1]), strict=True):
            torch.testing.assert_close(table[row : row + 1], one, rtol=0, atol=1e-12)

    def plain(model, dtype):
        blocks, _ = model.model.dit.modulation(times)
        return torch.stack(blocks, 1)

    odd.check(whole[0], plain)


def test_padding_is_exactly_without_effect(odd):
    """Keys past a branch's length do not change a bit, whatever they hold."""
    latent, captions = odd.normal(1, 4, 2, 3), odd.normal(1, TOKENS, 28)
    one = step(odd, latent, [400.0], captions, [4], [0])
    captions[:, 4:] = 1e6
    assert torch.equal(one, step(odd, latent, [400.0], captions, [4], [0]))


def test_one_picture_of_many_is_that_picture_alone(odd):
    """E11, E22: pictures and branches of a step do not see each other."""
    latent, captions = odd.normal(2, 4, 3, 4), odd.normal(2, TOKENS, 28)
    whole = step(odd, latent, [999.0, 37.0], captions, [TOKENS, 5], [0, 1])
    for row in range(2):
        alone = step(
            odd, latent[row : row + 1], [[999.0], [37.0]][row], captions[row : row + 1], [[TOKENS], [5]][row], [0]
        )
        torch.testing.assert_close(whole[row : row + 1], alone, rtol=0, atol=1e-12)


def test_the_position_table_follows_the_published_one(odd):
    """A table of explicit loops, for a grid that is neither square nor of the trained size."""
    import math

    from spar_engine.modules.dit import position_table

    width, base, rows, columns = 24, 3, 2, 5
    table = position_table(rows, columns, base, torch.zeros(1, width, dtype=torch.float64))[0]
    for row in range(rows):
        for column in range(columns):
            wanted = []
            for place in (column * base / columns, row * base / rows):
                angles = [place / 10000 ** (i / (width // 4)) for i in range(width // 4)]
                wanted += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
            got = table[row * columns + column]
            torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), rtol=0, atol=1e-13)
