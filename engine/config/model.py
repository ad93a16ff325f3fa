"""Shapes of the model, one frozen dataclass per part. Field names are the field's terms; readers map files on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import ConfigError

_MOST_LAYERS = 1024  # keeps a damaged file from describing a model that never ends


def _whole(part: str, config: object, names: str, most: int | None = None) -> None:
    """Refuse any of the fields `names` that is not a whole number from 1 to `most`."""
    for name in names.split():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{part}: {name}={value!r} must be a whole number of at least 1")
        if most is not None and value > most:
            raise ConfigError(f"{part}: {name}={value} is more than the {most} that this engine allows")


def _above_zero(part: str, config: object, names: str) -> None:
    for name in names.split():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ConfigError(f"{part}: {name}={value!r} must be a finite number greater than 0")


def _divides(part: str, name: str, value: int, by_name: str, by: int) -> None:
    if value % by:
        raise ConfigError(f"{part}: {name}={value} is not a multiple of {by_name}={by}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """InternViT tower, 2x2 pixel shuffle and projector (spec 3.1, 3.2)."""

    width: int  # channels of a patch token
    depth: int  # encoder layers
    heads: int
    mlp_width: int
    image_size: int  # side of the training picture, pixels
    patch_size: int  # side of a patch, pixels
    eps: float = 1e-6  # LayerNorms of the encoder; the projector's is 1e-5

    def __post_init__(self):
        _whole("vision", self, "width heads mlp_width image_size patch_size")
        _whole("vision", self, "depth", _MOST_LAYERS)
        _above_zero("vision", self, "eps")
        _divides("vision", "width", self.width, "heads", self.heads)
        _divides("vision", "image_size", self.image_size, "2 * patch_size", 2 * self.patch_size)

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def grid(self) -> int:
        """Patches along a side of the training picture."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Image tokens after the 2x2 shuffle, at the training size."""
        return (self.grid // 2) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageConfig:
    """Qwen2 language model (spec 5.1). The connector has the same geometry."""

    vocab_size: int
    width: int
    depth: int
    heads: int
    kv_heads: int
    mlp_width: int
    rope_theta: float = 1e6
    eps: float = 1e-6
    max_positions: int = 32768  # dynamic RoPE scaling is inactive below this length; longer inputs are refused

    def __post_init__(self):
        _whole("language", self, "vocab_size width heads kv_heads mlp_width max_positions")
        _whole("language", self, "depth", _MOST_LAYERS)
        _above_zero("language", self, "rope_theta eps")
        _divides("language", "width", self.width, "heads", self.heads)
        _divides("language", "heads", self.heads, "kv_heads", self.kv_heads)
        _divides("language", "head_dim", self.head_dim, "2", 2)

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """Dynamic Token Routing (spec 2)."""

    picks: int  # K, levels of the language model that are mixed
    temperature: float = 1.0

    def __post_init__(self):
        _whole("router", self, "picks")
        _above_zero("router", self, "temperature")

    def levels(self, depth: int) -> tuple[int, ...]:
        """Indices into hidden_states of a language model with `depth` layers; the last one is always `depth`."""
        if self.picks > depth:
            raise ConfigError(
                f"router: routing_num_layers={self.picks} does not fit a language model of {depth} layers; "
                f"use a value from 1 to {depth}"
            )
        step = depth // self.picks
        return (*(step * (i + 1) for i in range(self.picks - 1)), depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsConfig:
    """Image tokenizer between projected features and the latent (spec 3.3)."""

    dual: bool  # semantic + pixel stream with fusion, or the single stream
    blocks: int = 3  # residual blocks of a stream
    latent_channels: int = 32
    pixel_depth: int = 6  # the next three are used by the dual stream only
    pixel_heads: int = 16
    pixel_mlp_width: int = 0  # feed-forward width of the pixel transformer; 0 with a single stream

    def __post_init__(self):
        if not isinstance(self.dual, bool):
            raise ConfigError(f"streams: dual={self.dual!r} must be true or false")
        _whole("streams", self, "latent_channels")
        _whole("streams", self, "blocks", _MOST_LAYERS)
        if self.dual:
            _whole("streams", self, "pixel_heads pixel_mlp_width")
            _whole("streams", self, "pixel_depth", _MOST_LAYERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiTConfig:
    """SANA linear diffusion transformer (spec 4)."""

    depth: int  # blocks
    heads: int  # heads of the linear self-attention
    head_dim: int
    cross_heads: int
    cross_head_dim: int
    caption_width: int  # width of the projected condition
    sample_size: int  # side of the training latent
    mlp_ratio: float = 2.5
    in_channels: int = 32
    out_channels: int = 32
    patch_size: int = 1
    eps: float = 1e-6
    position: str = "sincos"  # "sincos" or "none"; not stored in checkpoints (spec 11.1)

    def __post_init__(self):
        _whole(
            "dit", self, "heads head_dim cross_heads cross_head_dim caption_width sample_size in_channels out_channels"
        )
        _whole("dit", self, "depth", _MOST_LAYERS)
        _above_zero("dit", self, "mlp_ratio eps")
        if self.patch_size != 1:
            raise ConfigError(f"dit: patch_size={self.patch_size} is not supported; this family uses 1")
        if self.in_channels != self.out_channels:
            raise ConfigError(f"dit: out_channels={self.out_channels} must equal in_channels={self.in_channels}")
        if self.position not in ("sincos", "none"):
            raise ConfigError(f"dit: position={self.position!r} is unknown; use 'sincos' or 'none'")
        if self.cross_heads * self.cross_head_dim != self.width:
            raise ConfigError(
                f"dit: num_cross_attention_heads={self.cross_heads} x cross_attention_head_dim={self.cross_head_dim} "
                f"must equal the width {self.width}"
            )
        if self.position == "sincos":
            _divides("dit", "width", self.width, "4 (for the position table)", 4)
            if self.sample_size >= 128:  # from here on the original scales the table's coordinates
                raise ConfigError(f"dit: sample_size={self.sample_size} with position='sincos' must be below 128")

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @property
    def mlp_width(self) -> int:
        """Hidden width of GLUMBConv; its inverted convolution has twice as many channels."""
        return int(self.mlp_ratio * self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """DC-AE pixel decoder (spec 3.4). Tuples run from stage 0 (largest picture) to the last stage (latent size)."""

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    attention: tuple[bool, ...]  # EfficientViT blocks in this stage, else residual convolution blocks
    scales: tuple[tuple[int, ...], ...]  # kernel sizes of the multi-scale branches of each stage
    head_dim: int = 32
    latent_channels: int = 32

    def __post_init__(self):
        stages = len(self.channels)
        if not stages:
            raise ConfigError("decoder: channels is empty; give one width a stage")
        _whole("decoder", self, "head_dim latent_channels")
        for name in ("depths", "attention", "scales"):
            if len(getattr(self, name)) != stages:
                raise ConfigError(f"decoder: {name} has {len(getattr(self, name))} stages, channels has {stages}")
        _divides("decoder", "last channels", self.channels[-1], "latent_channels", self.latent_channels)
        for stage, channels in enumerate(self.channels):
            where, depth = f"decoder: stage {stage}", self.depths[stage]
            if channels < 1 or not 1 <= depth <= _MOST_LAYERS:
                raise ConfigError(
                    f"{where}: channels={channels!r}, depth={depth!r} must be whole numbers of at least 1"
                )
            if any(kernel < 1 or kernel % 2 == 0 for kernel in self.scales[stage]):
                raise ConfigError(f"{where}: kernel sizes {list(self.scales[stage])} must be odd")
            if self.scales[stage] and not self.attention[stage]:
                raise ConfigError(f"{where}: kernel sizes {list(self.scales[stage])} belong to attention only")
            if self.attention[stage]:
                _divides("decoder", f"channels of stage {stage}", channels, "head_dim", self.head_dim)
            if stage:
                _divides(
                    "decoder",
                    f"4 * channels of stage {stage - 1}",
                    4 * self.channels[stage - 1],
                    f"channels of stage {stage}",
                    channels,
                )

    @property
    def upscale(self) -> int:
        """Pixels per latent cell along a side."""
        return 2 ** (len(self.channels) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """Noise schedule and solver (spec 6)."""

    kind: str = "dpm-solver++"  # "dpm-solver++" (second order, midpoint, flow) or "euler" (flow match)
    shift: float = 3.0
    train_steps: int = 1000
    linspace: bool = False  # euler only: sigmas from linspace(1, 1/n, n) instead of the trained table

    def __post_init__(self):
        if self.kind not in ("dpm-solver++", "euler"):
            raise ConfigError(f"sampler: kind={self.kind!r} is unknown; use 'dpm-solver++' or 'euler'")
        _above_zero("sampler", self, "shift")
        if self.linspace and self.kind != "euler":
            raise ConfigError(f"sampler: linspace=True belongs to kind='euler', not to {self.kind!r}")
        _whole("sampler", self, "train_steps")


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
    sampler: SamplerConfig = SamplerConfig()
    image_token_id: int = 151667  # <IMG_CONTEXT>

    def __post_init__(self):
        _whole("model", self, "query_count")
        _whole("model", self, "connector_depth", _MOST_LAYERS)
        _above_zero("model", self, "latent_scale")
        if self.router is not None:
            self.router.levels(self.language.depth)
        if self.streams.dual:
            _divides("model", "width", self.language.width, "dual_stream_num_heads", self.streams.pixel_heads)
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
