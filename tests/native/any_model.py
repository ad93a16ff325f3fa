"""Models of any small shape that the configuration allows: odd widths, single heads, layers that fill no vector."""

from __future__ import annotations

import numpy as np
from spar_engine.components import components
from spar_engine.config import ModelConfig
from spar_engine.config.generation import DecoderConfig, DiTConfig, RouterConfig, StreamsConfig
from spar_engine.config.understanding import LanguageConfig, VisionConfig


def any_model(seed: int) -> ModelConfig:
    """A model drawn by `seed`. Channels of the decoder's convolutions are even, as bf16 needs them."""
    rng = np.random.default_rng(seed)

    def one(*choices):
        return choices[int(rng.integers(len(choices)))]

    def upto(most: int, least: int = 1) -> int:
        return int(rng.integers(least, most + 1))

    kv_heads, vision_heads, patch, depth = upto(3), one(1, 2, 3, 5), one(2, 5, 7, 14), upto(5)
    heads = kv_heads * upto(3)
    width = heads * 2 * upto(29)
    dit_heads, dit_dim, channels = upto(4), one(4, 8, 12, 16, 20, 32, 36, 40), one(2, 4, 8, 16, 32)
    cross_heads = one(*(n for n in range(1, dit_heads * dit_dim + 1) if dit_heads * dit_dim % n == 0))
    head_dim, stages = one(2, 4, 5, 8, 12, 16), [0] * upto(4)
    stages[-1] = int(np.lcm(channels, 2 * head_dim)) * upto(2)
    for stage in reversed(range(len(stages) - 1)):  # four times a stage's channels are a multiple of the next one's
        below = stages[stage + 1]
        stages[stage] = int(np.lcm(2, below // int(np.gcd(below, 4)))) * upto(3)
    attention = tuple(bool(c % head_dim == 0 and rng.random() < 0.5) for c in stages)
    dual = bool(rng.random() < 0.6)
    return ModelConfig(
        name=f"any-{seed}",
        vision=VisionConfig(width=vision_heads * upto(39), depth=upto(2), heads=vision_heads, mlp_width=upto(89),
                            image_size=2 * upto(4) * patch, patch_size=patch),
        language=LanguageConfig(vocab_size=upto(110, 50), width=width, depth=depth, heads=heads, kv_heads=kv_heads,
                                mlp_width=upto(119), rope_theta=one(1e4, 1e6), max_positions=512),
        connector_depth=upto(2), query_count=upto(20),
        streams=StreamsConfig(dual=dual, blocks=upto(3), latent_channels=channels, pixel_depth=upto(2),
                              pixel_heads=heads, pixel_mlp_width=upto(89) if dual else 0),
        dit=DiTConfig(depth=upto(3), heads=dit_heads, head_dim=dit_dim, cross_heads=cross_heads,
                      cross_head_dim=dit_heads * dit_dim // cross_heads, caption_width=upto(89), sample_size=upto(5, 2),
                      mlp_ratio=one(1.0, 1.5, 2.5, 3.7), in_channels=channels, out_channels=channels,
                      position=one("sincos", "none")),
        decoder=DecoderConfig(channels=tuple(stages), depths=tuple(upto(2) for _ in stages), attention=attention,
                              scales=tuple(one((), (3,), (5,), (3, 5)) if a else () for a in attention),
                              head_dim=head_dim, latent_channels=channels),
        latent_scale=float(rng.uniform(0.5, 12)), image_token_id=3,
        router=None if rng.random() < 0.25 else RouterConfig(picks=upto(depth), temperature=one(0.5, 1.0, 2.0)),
    )  # fmt: skip


def any_inputs(config: ModelConfig, component: str, seed: int) -> dict[str, np.ndarray]:
    """Valid inputs of any small size, with indices in any order and prompts of any length."""
    rng = np.random.default_rng(seed)

    def upto(most: int, least: int = 1) -> int:
        return int(rng.integers(least, most + 1))

    tokens, images, batch, branch, side = upto(11), upto(3, 0), upto(2), upto(3), 2 * config.vision.patch_size
    axes = {
        "vision": {"tiles": batch, "height": side * upto(3), "width": side * upto(3)},
        "language": {"batch": batch, "tokens": tokens, "past": upto(5, 0), "rows": upto(tokens)},
        "lm_head": {"batch": branch}, "context": {"branch": branch, "tokens": tokens}, "modulation": {"steps": branch},
        "condition": {"batch": batch, "rows": tokens, "image_tokens": images, "tokens": tokens + images},
        "dit": {"batch": batch, "branch": branch, "height": upto(6), "width": upto(6), "tokens": tokens},
        "streams": {"batch": batch, "tokens": tokens}, "decoder": {"batch": batch, "height": upto(4), "width": upto(4)},
    }[component]  # fmt: skip
    given = components(config)[component].example(rng, **axes)
    if component == "language":
        given["rows"] = np.sort(rng.permutation(tokens)[: axes["rows"]])
    if component == "condition":
        given["order"] = rng.permutation(tokens + images)
    if component == "dit":
        given |= {"branches": rng.integers(0, batch, branch), "lengths": rng.integers(1, tokens + 1, branch)}
    return given
