"""Qwen2 layers with rotary positions, grouped queries and a key-value cache: language model and connector (spec 5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..config import LanguageConfig
from .layers import RmsNorm, join_heads, rotary, rotate, split_heads
from .tap import tap

Cache = tuple[torch.Tensor, torch.Tensor]  # rotated keys and values, [batch, kv_heads, tokens, head_dim] each


class Attention(nn.Module):
    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads
        kv_width = config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, kv_width)
        self.v_proj = nn.Linear(config.width, kv_width)
        self.o_proj = nn.Linear(config.width, config.width, bias=False)

    def cache(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, past: Cache | None) -> Cache:
        """Keys and values of x, after those of `past`."""
        key = rotate(split_heads(self.k_proj(x), self.kv_heads), cos, sin)
        value = split_heads(self.v_proj(x), self.kv_heads)
        return (key, value) if past is None else (torch.cat((past[0], key), 2), torch.cat((past[1], value), 2))

    def forward(self, x, cos, sin, bias, cache: Cache) -> torch.Tensor:
        """Attention of the tokens of x over `cache`. `bias` is additive, already repeated for the heads of a group."""
        query = rotate(split_heads(self.q_proj(x), self.heads), cos, sin)
        # The query heads of one key head follow each other: they become rows of one attention, no key is copied.
        rows = query.unflatten(1, (self.kv_heads, -1)).flatten(2, 3)
        mixed = F.scaled_dot_product_attention(rows, *cache, attn_mask=bias)
        return self.o_proj(join_heads(mixed.unflatten(2, (self.heads // self.kv_heads, -1)).flatten(1, 2)))


class Mlp(nn.Module):
    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config: LanguageConfig):
        super().__init__()
        self.self_attn, self.mlp = Attention(config), Mlp(config)
        self.input_layernorm = RmsNorm(config.width, config.eps)
        self.post_attention_layernorm = RmsNorm(config.width, config.eps)

    def forward(self, x, cos, sin, bias, past: Cache | None = None, rows: torch.Tensor | None = None):
        """Tokens x [batch, tokens, width] -> the layer's output and the grown cache.

        With `rows` only those tokens are computed; all of x still gives keys and values. `bias` then has their rows."""
        normed = self.input_layernorm(x)
        cache = self.self_attn.cache(normed, cos, sin, past)
        if rows is not None:
            x, normed = x.index_select(1, rows), normed.index_select(1, rows)
            cos, sin = cos.index_select(2, rows), sin.index_select(2, rows)
        x = x + self.self_attn(normed, cos, sin, bias, cache)
        return x + self.mlp(self.post_attention_layernorm(x)), cache


class Qwen2(nn.Module):
    """Layers and final norm; `vocabulary` adds the token embedding."""

    def __init__(self, config: LanguageConfig, depth: int, *, vocabulary: bool = False):
        super().__init__()
        self.config = config
        if vocabulary:
            self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(depth))
        self.norm = RmsNorm(config.width, config.eps)

    def grouped(self, bias: torch.Tensor) -> torch.Tensor:
        """Additive mask [.., 1, tokens, keys] -> its rows once for every query head of a group."""
        group = self.config.heads // self.config.kv_heads
        return bias if group == 1 else bias.repeat(1, 1, group, 1)

    def forward(
        self,
        x: torch.Tensor,
        positions: torch.Tensor,
        bias: torch.Tensor | None = None,
        past: Sequence[Cache] | None = None,
        rows: torch.Tensor | None = None,
        wanted: Collection[int] | None = None,
        name: str = "llm",
    ) -> tuple[dict[int, torch.Tensor], list[Cache]]:
        """Hidden levels and the grown cache of each layer.

        x          [batch, tokens, width] embeddings, or the connector's input
        positions  [batch or 1, tokens] of x
        bias       additive mask [batch or 1, 1, tokens, past + tokens]; none: every token sees every token
        past       a cache for each layer
        rows       whole numbers [rows]: the tokens that are wanted, and all that the last layer computes; none: all
        wanted     levels to return; none: all. 0 is x, `depth` the last layer's output under the final norm
        returns    wanted levels [batch, rows or tokens, width], by number, and caches
        """
        depth = len(self.layers)
        cos, sin = (
            part.unsqueeze(1) for part in rotary(positions, self.config.head_dim, self.config.rope_theta, x.dtype)
        )
        every = last = None
        if bias is not None:
            every = self.grouped(bias)
            last = every if rows is None else self.grouped(bias.index_select(2, rows))
        levels, caches = {}, []

        def keep(level: int, x: torch.Tensor) -> None:
            tap(f"{name}.hidden_{level}", x)
            if wanted is None or level in wanted:
                levels[level] = x if rows is None or level == depth else x.index_select(1, rows)

        keep(0, x)
        for index, layer in enumerate(self.layers[:-1]):
            x, cache = layer(x, cos, sin, every, past and past[index])
            keep(index + 1, x)
            caches.append(cache)
        x, cache = self.layers[-1](x, cos, sin, last, past and past[-1], rows)
        keep(depth, self.norm(x))
        return levels, [*caches, cache]
