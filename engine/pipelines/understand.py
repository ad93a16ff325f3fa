"""Picture and question to text: prefill once, then one token at a time with a key-value cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..samplers import uniforms
from .call import Call, Pipeline, Token
from .condition import Prefix, embeddings, no_cache
from .parts import Parts
from .vision import look


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How the next token is chosen. Temperature 0 is greedy."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """Decoded tokens, without the stop token."""

    ids: list[int]
    finished: bool  # a stop token came before max_new_tokens
    prompt_tokens: int


class Chooser:
    """Picks tokens from logits; the same seed gives the same draws on every machine."""

    def __init__(self, decoding: Decoding):
        self.decoding = decoding
        self.drawn = 0

    def __call__(self, logits: np.ndarray) -> int:
        """logits [vocabulary] float32 -> token id; ties go to the lower id."""
        how = self.decoding
        if how.temperature == 0.0:
            return int(np.argmax(logits))
        scaled = (logits.astype(np.float64) - logits.max()) / how.temperature
        chance = np.exp(scaled)
        chance /= chance.sum()
        order = np.argsort(-chance, kind="stable")
        total = np.cumsum(chance[order])
        kept = int(np.searchsorted(total, how.top_p)) + 1  # the smallest set that reaches top_p
        draw = uniforms(how.seed, 1, self.drawn)[0] * total[min(kept, len(total)) - 1]  # in (0, total]
        self.drawn += 1
        return int(order[int(np.searchsorted(total, draw))])


def understand(
    parts: Parts,
    ids: np.ndarray,
    pixel_values: np.ndarray | None,
    decoding: Decoding,
    stop: frozenset[int],
    read: Callable[[int], str],
    cuts: Sequence[int] = (),
) -> Pipeline[Reply]:
    """Answer a chat prompt.

    ids           prompt tokens [n], with an image token for every visual token
    pixel_values  normalised tiles [tiles, 3, side, side], or None for text alone
    stop          token ids that end the answer
    read          token id -> text that became readable, for streaming
    cuts          `Prompt.cuts`: places in `ids` at which the language model's state is kept between questions
    """
    seen = None
    if pixel_values is not None:
        seen = yield from look(parts, pixel_values)
    embeds = embeddings(parts, ids, None if seen is None else seen.features)[None]
    state, past = yield from _prefill(parts, ids, embeds, () if seen is None else seen.key, cuts)
    keys, values, embeds = state.keys, state.values, embeds[:, past:]
    choose = Chooser(decoding)
    written: list[int] = []
    while True:
        out = yield _language(embeds, keys, values)
        keys, values = out["keys"], out["values"]
        head = yield Call("lm_head", {"hidden_states": out["hidden_levels"][-1, :, 0]})
        token = choose(head["logits"][0])
        if token in stop:
            return Reply(written, True, len(ids))
        written.append(token)
        yield Token(token, read(token))
        if len(written) == decoding.max_new_tokens:
            return Reply(written, False, len(ids))
        embeds = parts.embed(np.array([token]))[None]


def _prefill(
    parts: Parts, ids: np.ndarray, embeds: np.ndarray, seen: tuple[bytes, ...], cuts: Sequence[int]
) -> Pipeline[tuple[Prefix, int]]:
    """State at the last cut, and the tokens in it. The text is always run in the pieces that the cuts make, kept or
    not, so that the products of a piece have the same shapes, and hence the same bits, in every request."""
    image = ids == parts.config.image_token_id
    keys = {cut: ("state", ids[:cut].tobytes(), seen if image[:cut].any() else ()) for cut in cuts}
    state, past = Prefix(None, no_cache(parts), no_cache(parts)), 0
    for cut in reversed(cuts):
        if (found := parts.prefixes.get(keys[cut])) is not None:
            state, past = found, cut
            break
    for cut in cuts:
        if cut > past:
            out = yield _language(embeds[:, past:cut], state.keys, state.values)
            state, past = Prefix(None, out["keys"], out["values"]), cut
            parts.prefixes.put(keys[cut], state)
    return state, past


def _language(embeds: np.ndarray, keys: Any, values: Any) -> Call:
    return Call("language", {
        "inputs_embeds": embeds, "past_keys": keys, "past_values": values,
        "rows": np.array([embeds.shape[1] - 1], np.int64),
    })  # fmt: skip
