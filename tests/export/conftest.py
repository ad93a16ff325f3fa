"""Exported models to test: the golden checkpoints, and one whose every size is odd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from spar_engine.backends.build import prepared
from spar_engine.components import Component
from spar_engine.config import (
    DecoderConfig,
    DiTConfig,
    LanguageConfig,
    ModelConfig,
    RouterConfig,
    StreamsConfig,
    VisionConfig,
)
from spar_engine.weights import Checkpoint, RandomWeights

ODD = ModelConfig(
    name="odd",
    vision=VisionConfig(width=30, depth=1, heads=5, mlp_width=44, image_size=42, patch_size=7),
    language=LanguageConfig(vocab_size=53, width=60, depth=7, heads=6, kv_heads=2, mlp_width=72, max_positions=96),
    connector_depth=1,
    query_count=5,
    streams=StreamsConfig(dual=True, blocks=1, latent_channels=4, pixel_depth=1, pixel_heads=3, pixel_mlp_width=50),
    dit=DiTConfig(depth=2, heads=3, head_dim=8, cross_heads=2, cross_head_dim=12, caption_width=26, sample_size=3,
                  in_channels=4, out_channels=4, position="none"),
    decoder=DecoderConfig(channels=(4, 8, 8), depths=(1, 1, 1), attention=(False, False, True),
                          scales=((), (), (3, 5)), head_dim=4, latent_channels=4),
    latent_scale=3.7,
    router=RouterConfig(picks=3, temperature=0.7),
    image_token_id=52,
)  # fmt: skip
"""K = 3 of 7 levels, temperature 0.7, three query heads a key head, bf16 weights."""

MODELS = ("spar-tiny", "unilip-tiny", "odd")


@pytest.fixture(scope="session")
def weights_of(golden_dir) -> Callable[[str], Checkpoint | RandomWeights]:
    return lambda name: RandomWeights(ODD, 3) if name == "odd" else Checkpoint.open(golden_dir(name) / "checkpoint")


@pytest.fixture(scope="session")
def artefacts_of(weights_of) -> Callable:
    """Artefacts of a model, made once for all tests; with taps for the one that has every feature."""
    return lambda name: prepared(weights_of(name), taps=name == "spar-tiny")


@pytest.fixture
def tiny(golden_dir) -> Path:
    """A checkpoint directory."""
    return golden_dir("unilip-tiny") / "checkpoint"


def example(spec: Component, config: ModelConfig, which: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Inputs of a component at its usual sizes, its least ones, or some that fit no pattern."""
    odd = dict(zip(spec.ranges, (3, 11, 5, 7, 9, 13), strict=False))
    least = {axis: least for axis, (least, _, _) in spec.ranges.items()}
    sizes = {"usual": {}, "least": least, "odd": odd}[which]
    if spec.name == "vision" and which == "odd":
        sizes = {"tiles": 3, "height": 6 * config.vision.patch_size, "width": 4 * config.vision.patch_size}
    made = spec.example(rng, **sizes)
    if "rows" in made:  # in any order, and fewer than there are tokens
        made["rows"] = rng.permutation(made["inputs_embeds"].shape[1])[: len(made["rows"])].astype(np.int64)
    if "order" in made:
        rows = made["hidden_levels"].shape[2] + made["image_features"].shape[1]
        made["order"] = rng.integers(0, rows, len(made["order"]))
    if "lengths" in made:
        longest = made["cross_keys"].shape[3]
        made["lengths"] = rng.integers(1, longest + 1, len(made["lengths"]))
        made["branches"] = rng.integers(0, len(made["latent"]), len(made["branches"]))
    return made
