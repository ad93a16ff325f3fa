"""Models to test: the golden checkpoints, and one whose every size is odd."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from spar_engine.config import (
    DecoderConfig,
    DiTConfig,
    LanguageConfig,
    ModelConfig,
    RouterConfig,
    StreamsConfig,
    VisionConfig,
)
from spar_engine.modules import cuts
from spar_engine.modules.model import Spar
from spar_engine.weights.checkpoint import Checkpoint
from spar_engine.weights.random import RandomWeights

ODD = ModelConfig(
    name="odd",
    vision=VisionConfig(width=24, depth=2, heads=3, mlp_width=40, image_size=56, patch_size=14),
    language=LanguageConfig(vocab_size=50, width=60, depth=7, heads=6, kv_heads=2, mlp_width=88, max_positions=256),
    connector_depth=2,
    query_count=5,  # the vision tower gives 4 image tokens
    streams=StreamsConfig(dual=True, blocks=2, latent_channels=4, pixel_depth=2, pixel_heads=5, pixel_mlp_width=70),
    dit=DiTConfig(depth=3, heads=3, head_dim=8, cross_heads=2, cross_head_dim=12, caption_width=28, sample_size=3,
                  in_channels=4, out_channels=4),
    decoder=DecoderConfig(channels=(4, 16, 8, 8), depths=(1, 2, 1, 2), attention=(False, False, True, True),
                          scales=((), (), (5,), (3, 5)), head_dim=4, latent_channels=4),
    latent_scale=3.7,
    router=RouterConfig(picks=3, temperature=0.7),
    image_token_id=49,
)  # fmt: skip
"""K = 3 of 7 levels, temperature 0.7, three query heads a key head, repeats 8, 4 and 1 in the decoder's shortcuts."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["spar-tiny", "unilip-tiny"])
def original(request, golden_dir) -> Checkpoint:
    return Checkpoint.open(golden_dir(request.param) / "checkpoint")


def plain(weights, dtype: torch.dtype = torch.float64) -> Spar:
    """The unoptimized model with these weights."""
    with cuts.without_data():
        model = Spar(weights.config)
    return cuts.load(model, weights, dtype=dtype).eval()


@pytest.fixture
def reference() -> Callable[..., Spar]:
    return plain


class Drawn(RandomWeights):
    """Random weights that keep what they drew."""

    f32 = functools.cache(RandomWeights.f32)


@functools.cache
def models(config: ModelConfig) -> tuple[Drawn, Spar, Spar]:
    weights = Drawn(config)
    return weights, plain(weights), plain(weights, torch.float32)


class Pair:
    """The plain model in two precisions, and cuts in the higher one, over the same random weights."""

    def __init__(self, config: ModelConfig):
        self.config, self.rng = config, np.random.default_rng(1)
        self.weights, self.model, self.rough = models(config)

    def cut(self, name: str) -> cuts.Cut:
        return cuts.load(cuts.build(name, self.config), self.weights, dtype=torch.float64)

    def normal(self, *shape: int) -> torch.Tensor:
        """Values that float32 holds exactly, as float64."""
        return torch.from_numpy(self.rng.standard_normal(shape, dtype=np.float32)).double()

    def check(self, got: torch.Tensor, form: Callable[[Spar, torch.dtype], torch.Tensor]) -> None:
        """`got`, computed in float64, equals the plain `form(model, dtype)`.

        The float32 run of the plain form measures how it amplifies rounding; float64 rounds 2**29 times finer. Either
        side may be twice as far from the exact value as that, plus one unit in the last place of the largest value.
        """
        want, rough = form(self.model, torch.float64), form(self.rough, torch.float32)
        assert got.shape == want.shape
        assert want.abs().max() > 1e-3, "nothing to compare"
        error = (rough.double() - want).abs().max()
        assert error < 1e-2, "the float32 run does not follow the plain form; it measures nothing"
        allowed = 4 * error * 2.0**-29 + want.abs().max() * 2.0**-52
        worst = (got - want).abs().max()
        assert worst <= allowed, f"off by {worst:.3g}, allowed {allowed:.3g}"


@pytest.fixture
def odd_config() -> ModelConfig:
    return ODD


@pytest.fixture
def odd() -> Pair:
    return Pair(ODD)


@pytest.fixture
def odd_with() -> Callable[..., Pair]:
    """odd_with(part=..., ...): the odd model with other fields; `kv_heads` and `position` reach into their parts."""

    def make(*, kv_heads: int = 2, position: str = "sincos", **fields) -> Pair:
        language, dit = replace(ODD.language, kv_heads=kv_heads), replace(ODD.dit, position=position)
        return Pair(replace(ODD, **({"language": language, "dit": dit} | fields)))

    return make
