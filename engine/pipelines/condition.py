"""From prompt tokens to the caption that the DiT attends to."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .call import Call, Pipeline
from .parts import Parts


@dataclass(frozen=True, slots=True, eq=False)
class Prefix:
    """The language model's state after leading tokens that several prompts share (E9, E23)."""

    hidden_levels: np.ndarray | None  # [levels, 1, tokens, width]; None where nobody reads them
    keys: Any
    values: Any


def no_cache(parts: Parts) -> np.ndarray:
    """An empty key or value cache, [layers, 1, kv_heads, 0, head_dim]."""
    t = parts.config.language
    return np.zeros((t.depth, 1, t.kv_heads, 0, t.head_dim), np.float32)


def prefix(parts: Parts, ids: np.ndarray) -> Pipeline[Prefix]:
    """State of the language model after `ids` [n], computed once while the cache holds it."""
    key = "levels", ids.tobytes()
    found = parts.prefixes.get(key)
    if found is None:
        out = yield Call("language", {
            "inputs_embeds": parts.embed(ids)[None], "past_keys": no_cache(parts), "past_values": no_cache(parts),
            "rows": np.arange(len(ids), dtype=np.int64),
        })  # fmt: skip
        found = Prefix(out["hidden_levels"], out["keys"], out["values"])
        parts.prefixes.put(key, found)
    return found


def embeddings(parts: Parts, ids: np.ndarray, features: np.ndarray | None = None) -> np.ndarray:
    """Embedded `ids` [n], with the rows of image tokens replaced by `features` in order; [n, width] float32.

    features  [image tokens in ids, width], or None when there are none
    """
    embeds = parts.embed(ids)
    image = np.flatnonzero(ids == parts.config.image_token_id)
    given = 0 if features is None else len(features)
    if len(image) != given:
        raise InputError(
            f"the prompt has {len(image)} image tokens, but the picture gave {given}; use one marker for every picture"
        )
    if not given:
        return embeds
    pieces, used, end = [], 0, 0
    for run in np.split(image, np.flatnonzero(np.diff(image) > 1) + 1):  # whole runs, so that a GPU's values stay there
        pieces += [embeds[end : run[0]], features[used : used + len(run)]]
        used, end = used + len(run), run[-1] + 1
    return np.concatenate([*pieces, embeds[end:]])


def caption(
    parts: Parts,
    ids: np.ndarray,
    features: np.ndarray | None = None,
    shared: np.ndarray | None = None,
    key: tuple[Hashable, ...] | None = None,
) -> Pipeline[np.ndarray]:
    """The DiT's caption for one prompt, unpadded (E6): [1, len(ids) + query_count, caption_width] float32.

    ids       prompt tokens, ending with the opening image token; the latent queries follow them
    features  visual tokens that replace the image tokens, before the language model and again after routing
    shared    leading tokens of `ids` whose state is kept between prompts (E9); ignored tokens must not be in it
    key       names the caption for later requests: `caption_key`; None keeps nothing
    """
    if key is not None and (found := parts.captions.get(key)) is not None:
        return found
    embeds = np.concatenate([embeddings(parts, ids, features), parts.queries])
    is_image = np.zeros(len(embeds), bool)
    is_image[: len(ids)] = ids == parts.config.image_token_id
    rows = np.flatnonzero(~is_image).astype(np.int64)

    keys = values = no_cache(parts)
    past = 0
    levels: list[np.ndarray] = []
    if shared is not None and len(shared) and np.array_equal(ids[: len(shared)], shared):
        state = yield from prefix(parts, shared)
        keys, values, past = state.keys, state.values, len(shared)
        levels.append(state.hidden_levels)
    out = yield Call("language", {
        "inputs_embeds": embeds[None, past:], "past_keys": keys, "past_values": values, "rows": rows[past:] - past,
    })  # fmt: skip
    levels.append(out["hidden_levels"])

    # where each position finds its row in [routed rows | image features] (E12)
    order = np.empty(len(embeds), np.int64)
    order[rows] = np.arange(len(rows))
    order[is_image] = len(rows) + np.arange(is_image.sum())
    width = parts.config.language.width
    out = yield Call("condition", {
        "hidden_levels": np.concatenate(levels, axis=2) if len(levels) > 1 else levels[0],
        "image_features": np.zeros((1, 0, width), np.float32) if features is None else features[None],
        "order": order,
    })  # fmt: skip
    if key is not None:
        parts.captions.put(key, out["caption"])
    return out["caption"]


def caption_key(ids: np.ndarray, seen: tuple[bytes, ...], shared: np.ndarray | None) -> tuple[Hashable, ...]:
    """What a caption follows from: ids, digests of the pictures, and where the language model's run is cut."""
    return ids.tobytes(), seen, b"" if shared is None else shared.tobytes()
