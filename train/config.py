"""The shape of spar-nano."""

from __future__ import annotations

from spar_engine.config import (
    DecoderConfig,
    DiTConfig,
    LanguageConfig,
    ModelConfig,
    RouterConfig,
    SamplerConfig,
    StreamsConfig,
    VisionConfig,
)

from .world.palette import GRID, SIDE

QUERIES = 16
LATENT_CHANNELS = 32
GUIDANCE = 3.0  # chosen on requests of another seed than the scores; 4.5 draws more objects than were asked for


def nano(vocab_size: int, image_token_id: int, latent_scale: float = 1.0, without: str | None = None) -> ModelConfig:
    """A SPAR of about 9 million parameters: every part of the family, one visual token for each cell of the world.

    vocab_size, image_token_id  of the trained tokenizer
    latent_scale                1 / standard deviation of the tokenizer's latents, known after its stages
    without                     an ablation (`lab.ABLATIONS`); "router" and "pixel-stream" change the shape
    """
    return ModelConfig(
        name="spar-nano",
        vision=VisionConfig(width=128, depth=4, heads=4, mlp_width=512, image_size=SIDE, patch_size=14),
        language=LanguageConfig(
            vocab_size=vocab_size, width=128, depth=8, heads=4, kv_heads=2, mlp_width=384, max_positions=2048
        ),
        connector_depth=3,
        query_count=QUERIES,
        streams=StreamsConfig(
            dual=without != "pixel-stream", blocks=3, latent_channels=LATENT_CHANNELS, pixel_depth=2, pixel_heads=4,
            pixel_mlp_width=0 if without == "pixel-stream" else 512,
        ),
        dit=DiTConfig(
            depth=7, heads=6, head_dim=32, cross_heads=4, cross_head_dim=48, caption_width=192, sample_size=GRID,
            in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
        ),
        decoder=DecoderConfig(
            channels=(8, 16, 32, 64, 128, 128), depths=(1, 1, 1, 1, 1, 1),
            attention=(False, False, False, False, True, True), scales=((), (), (), (), (5,), (5,)),
            head_dim=32, latent_channels=LATENT_CHANNELS,
        ),
        latent_scale=latent_scale,
        router=None if without == "router" else RouterConfig(picks=4),
        sampler=SamplerConfig(),
        image_token_id=image_token_id,
        guidance_scale=GUIDANCE,
    )  # fmt: skip
