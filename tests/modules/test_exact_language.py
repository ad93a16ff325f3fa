"""Exact rewrites of the language model and the condition, against the padded plain model in float64."""

from __future__ import annotations

import pytest
import torch

CONFIGURATIONS = {"three-to-one": {}, "one-kv-head": {"kv_heads": 1}, "all-kv-heads": {"kv_heads": 6}}
CONFIGURATIONS["no-router"] = {"router": None}


@pytest.fixture(params=CONFIGURATIONS)
def pair(request, odd_with):
    return odd_with(**CONFIGURATIONS[request.param])


def empty_cache(config, batch: int = 1, past: int = 0):
    language = config.language
    return torch.zeros(language.depth, batch, language.kv_heads, past, language.head_dim, dtype=torch.float64)


def language(pair, embeds, rows=None, cache=None):
    keys, values = cache or (empty_cache(pair.config), empty_cache(pair.config))
    return pair.cut("language")(embeds, keys, values, torch.arange(embeds.shape[1]) if rows is None else rows)


def picked(model, embeds, mask):
    """The levels that the condition reads, [levels, batch, tokens, hidden]."""
    levels = model.levels(embeds, mask)
    return torch.stack([levels[level] for level in model.config.levels])


def test_unpadded_levels(pair):
    """E6, E8: alone and without padding, only the wanted levels, equals its row of a padded batch on either side."""
    embeds = pair.normal(2, 11, 60)
    for mask in ([[1] * 8 + [0] * 3, [1] * 11], [[0] * 3 + [1] * 8, [1] * 11]):
        mask = torch.tensor(mask)
        valid = mask[0].bool()
        got, _, _ = language(pair, embeds[:1, valid])
        pair.check(got, lambda model, dtype, m=mask, v=valid: picked(model, embeds.to(dtype), m)[:, :1, v])


def test_last_layer_rows(pair):
    """E12: rows that nobody reads are left out of the last layer, in any order."""
    embeds, rows = pair.normal(2, 9, 60), torch.tensor([0, 7, 2, 8])
    cache = empty_cache(pair.config, 2), empty_cache(pair.config, 2)
    got, keys, _ = language(pair, embeds, rows, cache)
    pair.check(got, lambda model, dtype: picked(model, embeds.to(dtype), torch.ones(2, 9))[:, :, rows])
    assert keys.shape[3] == 9


def test_cache(pair):
    """E9, E23: a prefix and then the rest, token by token, equals all at once; so does the grown cache."""
    embeds = pair.normal(1, 8, 60)
    whole = language(pair, embeds)
    levels, keys, values = language(pair, embeds[:, :5])
    parts = [levels]
    for index in range(5, 8):
        levels, keys, values = language(pair, embeds[:, index : index + 1], None, (keys, values))
        parts.append(levels)
    got = torch.cat(parts, 2), keys, values
    pair.check(got[0], lambda model, dtype: picked(model, embeds.to(dtype), torch.ones(1, 8)))
    for one, other in zip(got, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)

    def plain_cache(model, dtype):
        _, cache = model.logits(embeds.to(dtype))
        return torch.stack([torch.stack(part) for part in zip(*cache, strict=True)])

    pair.check(torch.stack(got[1:]), plain_cache)


def test_text_decoding(pair):
    """The last row only, then the head, equals the plain logits."""
    embeds = pair.normal(1, 6, 60)
    levels, _, _ = language(pair, embeds, torch.tensor([5]))
    (got,) = pair.cut("lm_head")(levels[-1][:, 0])
    pair.check(got, lambda model, dtype: model.logits(embeds.to(dtype))[0])


def prompts(pair):
    """Two token rows, the first one padded by three on the left; every id below the image token."""
    ids = torch.from_numpy(pair.rng.integers(0, 49, (2, 9)))
    mask = torch.ones(2, 9, dtype=torch.int64)
    mask[0, :3] = 0
    return ids, mask


def test_text_to_image_condition(pair):
    """E4, E6: each branch alone equals its rows of the padded batch, whatever the other branch is. So the caption of
    the null prompt can be kept for ever."""
    ids, mask = prompts(pair)
    model = pair.model
    for row in range(2):
        valid = mask[row].bool()
        embeds, _ = model.with_queries(model.embed(ids[row : row + 1, valid]), mask[row : row + 1, valid])
        levels, _, _ = language(pair, embeds)
        tokens = torch.arange(embeds.shape[1])
        (got,) = pair.cut("condition")(levels, embeds[:, :0], tokens)

        def padded(model, dtype, row=row):
            caption, grown = model.condition(ids, mask)
            return caption[row : row + 1, grown[row].bool()]

        pair.check(got, padded)


def test_edit_condition(pair):
    """E12: image rows are neither finished by the language model nor routed; the connector gets the visual tokens."""
    ids, mask = prompts(pair)
    ids[:, 4:8] = pair.config.image_token_id
    features = pair.normal(2, 4, 60)
    model = pair.model
    for row in range(2):
        valid = mask[row].bool()
        own = ids[row : row + 1, valid]
        embeds, _ = model.with_queries(model.embed(own, features[row]), mask[row : row + 1, valid])
        is_image = torch.zeros(embeds.shape[1], dtype=torch.bool)
        is_image[: own.shape[1]] = own[0] == pair.config.image_token_id
        rows, pictures = (~is_image).nonzero()[:, 0], is_image.nonzero()[:, 0]
        levels, _, _ = language(pair, embeds, rows)
        (got,) = pair.cut("condition")(levels, features[row : row + 1], torch.cat((rows, pictures)).argsort())

        def padded(model, dtype, row=row):
            caption, grown = model.condition(ids, mask, features.to(dtype))
            return caption[row : row + 1, grown[row].bool()]

        pair.check(got, padded)


def test_changing_one_image_row_changes_the_caption(odd):
    """The rows of the visual tokens are read: a wrong order would be seen."""
    levels, features = odd.normal(3, 1, 6, 60), odd.normal(1, 4, 60)
    condition = odd.cut("condition")
    (right,) = condition(levels, features, torch.arange(10))
    (wrong,) = condition(levels, features, torch.tensor([0, 1, 2, 3, 4, 5, 7, 6, 8, 9]))
    assert (right - wrong).abs().max() > 1e-3
