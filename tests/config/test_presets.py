"""Presets against the parameter totals of the specification, sections 7.1 and 12."""

from __future__ import annotations

import dataclasses

import pytest
from spar_engine.config import StreamsConfig, from_dict, preset, presets, to_dict
from spar_engine.errors import ConfigError
from spar_engine.weights.schema import parameters

# Exact module totals of section 12, then the rounded totals of section 7.1 in millions.
MODULES = {
    "1b": {"vision_tower": 304_012_288, "decoder": 159_223_171, "dit": 591_747_872, "llm_connector": 89_475_200,
           "language_model": 357_897_216 + 896, "multi_modal_projector": 4_482_816},
    "3b": {"vision_tower": 304_012_288, "decoder": 159_223_171, "dit": 1_604_462_752, "llm_connector": 280_788_480,
           "language_model": 1_310_339_072 + 1536, "multi_modal_projector": 8_662_016},
}  # fmt: skip
TOTAL = {"1b": 1785.80, "3b": 4151.60}
ROUTER = {"1b": 1_209_160, "3b": 3_547_400}
DUAL = {"1b": 62.74, "3b": 184.22}


@pytest.mark.parametrize("size", ["1b", "3b"])
def test_totals(size: str):
    unilip, spar = parameters(preset(f"unilip-{size}")), parameters(preset(f"spar-{size}"))
    for module, count in MODULES[size].items():
        assert unilip[module] == spar[module] == count
    assert round(unilip["total"] / 1e6, 2) == TOTAL[size]
    assert "dynamic_router" not in unilip
    assert spar["dynamic_router"] == ROUTER[size]
    assert round((spar["streams"] - unilip["streams"]) / 1e6, 2) == DUAL[size]
    assert spar["total"] - unilip["total"] == spar["streams"] - unilip["streams"] + ROUTER[size]
    dual = StreamsConfig(dual=True, pixel_mlp_width=4 * preset(f"unilip-{size}").language.width)
    assert parameters(dataclasses.replace(preset(f"unilip-{size}"), streams=dual))["streams"] == spar["streams"]


def test_constants_of_the_specification():
    small, large = preset("spar-1b"), preset("spar-3b")
    assert small.levels == (6, 12, 18, 24)
    assert large.levels == (7, 14, 21, 28)
    assert dataclasses.replace(small.router, picks=6).levels(24) == (4, 8, 12, 16, 20, 24)
    assert dataclasses.replace(large.router, picks=6).levels(28) == (4, 8, 12, 16, 20, 28)
    assert (small.latent_scale, large.latent_scale) == (10.6, 9.5)
    for config in (small, large):
        assert (config.image_tokens, config.query_count, config.picture_size) == (256, 256, 448)
        assert config.vision.head_dim == 64
        assert config.language.vocab_size == 151677
        assert config.dit.mlp_width * 2 == 5 * config.dit.width
        assert (config.sampler.kind, config.sampler.shift, config.dit.position) == ("dpm-solver++", 3.0, "sincos")


def test_names_and_aliases():
    assert presets() == ("spar-1b", "spar-3b", "spar-tiny-random", "unilip-1b", "unilip-3b")
    assert all(preset(name).name == name for name in presets())
    assert preset("spar-2b") == preset("spar-3b")
    assert preset("unilip-2b") == preset("unilip-3b")


@pytest.mark.parametrize("name", ["spar-7b", "", "../presets/spar-1b", "spar-1b.json"])
def test_unknown_preset_lists_the_known(name: str):
    with pytest.raises(ConfigError) as caught:
        preset(name)
    assert repr(name) in str(caught.value)
    assert all(known in str(caught.value) for known in presets())


def test_presets_survive_serialisation():
    for name in presets():
        assert from_dict(to_dict(preset(name))) == preset(name)


def test_miniature_has_every_part_and_stays_small():
    counts = parameters(preset("spar-tiny-random"))
    assert {"dynamic_router", "streams", "decoder", "llm_connector"} <= counts.keys()
    assert counts["total"] < 8_000_000
