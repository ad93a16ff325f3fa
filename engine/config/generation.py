"""Shapes of the generating half: router, image tokenizer, DiT, pixel decoder and sampler."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConfigError
from .checks import MOST_LAYERS, above_zero, divides, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """Dynamic Token Routing (spec 2)."""

    picks: int  # K, levels of the language model that are mixed
    temperature: float = 1.0

    def __post_init__(self):
        whole("router", self, "picks")
        above_zero("router", self, "temperature")

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
        whole("streams", self, "latent_channels")
        whole("streams", self, "blocks", MOST_LAYERS)
        if self.dual:
            whole("streams", self, "pixel_heads pixel_mlp_width")
            whole("streams", self, "pixel_depth", MOST_LAYERS)


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
        whole(
            "dit", self, "heads head_dim cross_heads cross_head_dim caption_width sample_size in_channels out_channels"
        )
        whole("dit", self, "depth", MOST_LAYERS)
        above_zero("dit", self, "mlp_ratio eps")
        if not 1 <= self.mlp_ratio * self.width < 2**31:
            raise ConfigError(f"dit: mlp_ratio={self.mlp_ratio} makes no feed-forward of a width of {self.width}")
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
            divides("dit", "width", self.width, "4 (for the position table)", 4)
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
        whole("decoder", self, "head_dim latent_channels")
        for name in ("depths", "attention", "scales"):
            if len(getattr(self, name)) != stages:
                raise ConfigError(f"decoder: {name} has {len(getattr(self, name))} stages, channels has {stages}")
        divides("decoder", "last channels", self.channels[-1], "latent_channels", self.latent_channels)
        for stage, channels in enumerate(self.channels):
            where, depth = f"decoder: stage {stage}", self.depths[stage]
            if channels < 1 or not 1 <= depth <= MOST_LAYERS:
                raise ConfigError(
                    f"{where}: channels={channels!r}, depth={depth!r} must be whole numbers of at least 1"
                )
            if any(kernel < 1 or kernel % 2 == 0 for kernel in self.scales[stage]):
                raise ConfigError(f"{where}: kernel sizes {list(self.scales[stage])} must be odd")
            if self.scales[stage] and not self.attention[stage]:
                raise ConfigError(f"{where}: kernel sizes {list(self.scales[stage])} belong to attention only")
            if self.attention[stage]:
                divides("decoder", f"channels of stage {stage}", channels, "head_dim", self.head_dim)
            if stage:
                divides(
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
        above_zero("sampler", self, "shift")
        if self.linspace and self.kind != "euler":
            raise ConfigError(f"sampler: linspace=True belongs to kind='euler', not to {self.kind!r}")
        whole("sampler", self, "train_steps")
