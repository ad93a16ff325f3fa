"""Picture and question to text: prefill once, then one token at a time with a key-value cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..samplers import uniforms
from .call import Call, Pipeline, Token
from .condition import embeddings, no_cache, prefix
from .parts import Parts
from .vision import visual_tokens


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
    shared: np.ndarray | None = None,
) -> Pipeline[Reply]:
    """Answer a chat prompt.

    ids           prompt tokens [n], with an image token for every visual token
    pixel_values  normalised tiles [tiles, 3, side, side], or None for text alone
    stop          token ids that end the answer
    read          token id -> text that became readable, for streaming
    shared        leading ids whose state is kept between questions (E9, E23)
    """
    features = None
    if pixel_values is not None:
        features = yield from visual_tokens(parts, pixel_values)
    embeds = embeddings(parts, ids, features)[None]
    keys = values = no_cache(parts)
    if shared is not None and 0 < len(shared) < len(ids) and np.array_equal(ids[: len(shared)], shared):
        state = yield from prefix(parts, shared)
        keys, values, embeds = state.keys, state.values, embeds[:, len(shared) :]
    choose = Chooser(decoding)
    written: list[int] = []
    while True:
        out = yield Call("language", {
            "inputs_embeds": np.ascontiguousarray(embeds), "past_keys": keys, "past_values": values,
            "rows": np.array([embeds.shape[1] - 1], np.int64),
        })  # fmt: skip
        keys, values = out["keys"], out["values"]
        head = yield Call("lm_head", {"hidden_states": np.ascontiguousarray(out["hidden_levels"][-1, :, 0])})
        token = choose(head["logits"][0])
        if token in stop:
            return Reply(written, True, len(ids))
        written.append(token)
        yield Token(token, read(token))
        if len(written) == decoding.max_new_tokens:
            return Reply(written, False, len(ids))
        embeds = parts.embed(np.array([token]))[None]
