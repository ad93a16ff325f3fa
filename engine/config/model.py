"""Shape of a whole model. Field names are the field's terms; readers map files on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError
from .checks import MOST_LAYERS, above_zero, divides, whole
from .generation import DecoderConfig, DiTConfig, RouterConfig, SamplerConfig, StreamsConfig
from .understanding import LanguageConfig, VisionConfig

_PUBLISHED_SAMPLER = SamplerConfig()
GUIDANCE_SCALE = 4.5  # of the published models; a checkpoint may name its own


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A whole SPAR or UniLIP model. `name` is a label; everything else follows from the checkpoint."""

    name: str
    vision: VisionConfig
    language: LanguageConfig
    connector_depth: int
    query_count: int  # latent queries appended to the prompt
    streams: StreamsConfig
    dit: DiTConfig
    decoder: DecoderConfig
    latent_scale: float  # unilip_factor: DiT latent = tokenizer latent * latent_scale
    router: RouterConfig | None = None  # None: the last level feeds the connector (UniLIP)
    sampler: SamplerConfig = _PUBLISHED_SAMPLER
    image_token_id: int = 151667  # <IMG_CONTEXT>
    guidance_scale: float = GUIDANCE_SCALE  # of requests that name none

    def __post_init__(self):
        whole("model", self, "query_count")
        whole("model", self, "connector_depth", MOST_LAYERS)
        above_zero("model", self, "latent_scale")
        if not math.isfinite(self.guidance_scale):
            raise ConfigError(
                f"model: guidance_scale={self.guidance_scale!r} is not a finite number; {GUIDANCE_SCALE} is usual"
            )
        if self.router is not None:
            self.router.levels(self.language.depth)
        if self.streams.dual:
            divides("model", "width", self.language.width, "dual_stream_num_heads", self.streams.pixel_heads)
        channels = {self.dit.in_channels, self.streams.latent_channels, self.decoder.latent_channels}
        if len(channels) > 1:
            raise ConfigError(
                f"model: latent channels differ: {self.dit.in_channels} in the DiT, {self.streams.latent_channels} in "
                f"the tokenizer, {self.decoder.latent_channels} in the decoder"
            )
        token = self.image_token_id
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < self.language.vocab_size:
            raise ConfigError(
                f"model: image_token_id={token!r} is outside the vocabulary of {self.language.vocab_size}"
            )

    @property
    def levels(self) -> tuple[int, ...]:
        """Indices of the hidden states that the condition needs."""
        return (self.language.depth,) if self.router is None else self.router.levels(self.language.depth)

    @property
    def image_tokens(self) -> int:
        """Tokens of one picture in the prompt, at the vision tower's training size."""
        return self.vision.tokens

    @property
    def picture_size(self) -> int:
        """Side of a generated picture after the 28/32 resize, pixels."""
        return int(self.dit.sample_size * self.decoder.upscale * 0.875)
