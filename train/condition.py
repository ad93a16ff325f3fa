"""Prompts to the DiT's condition, cheaply where the language model is frozen.

By causality the rows of the text do not depend on the queries after them: they are computed without gradients, and only
the queries' rows carry them, over the text's key-value cache. Equal to `Spar.condition` (a test compares them)."""

from __future__ import annotations

import torch
from spar_engine.modules.layers import as_bias
from spar_engine.modules.model import Spar, positions_of


def condition(
    model: Spar, ids: torch.Tensor, mask: torch.Tensor, features: torch.Tensor | None = None, *, frozen: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Spar.condition`: (caption [batch, tokens + queries, caption_width], its mask).

    features  [pictures, image tokens, hidden], in the order of the image tokens in `ids`
    frozen    the language model, the embedding and the features take no gradient"""
    if not frozen:
        return model.condition(ids, mask, features)
    lm, text = model.model.language_model, mask.shape[1]
    with torch.no_grad():
        embeds = model.embed(ids, features)
        seen = torch.ones(text, text, dtype=torch.bool).tril() & mask.bool()[:, None, None]
        levels, cache = lm(embeds, positions_of(mask), as_bias(seen, embeds.dtype))
    queries = model.model.latent_queries.expand(len(ids), -1, -1)
    both = torch.cat((mask, mask.new_ones(queries.shape[:2])), dim=1)
    seen = torch.ones(queries.shape[1], both.shape[1], dtype=torch.bool).tril(text) & both.bool()[:, None, None]
    more, _ = lm(queries, positions_of(both)[:, text:], as_bias(seen, queries.dtype), cache)
    hidden = {i: torch.cat((level, more[i].to(level.dtype)), dim=1) for i, level in levels.items()}
    return model.connected(hidden, ids, both, features), both
