"""Configurations written in the family's files and read back."""

from __future__ import annotations

import dataclasses

import pytest
from spar_engine.config import SamplerConfig, preset, presets, read_config
from spar_engine.config.write import write_checkpoint_config
from spar_engine.errors import ConfigError
from spar_engine.weights.schema import expected

TINY = preset("spar-tiny-random")
VARIANTS = {
    "three of seven levels": {
        "language": dataclasses.replace(TINY.language, depth=7),
        "router": dataclasses.replace(TINY.router, picks=3, temperature=0.7),
    },
    "no router": {"router": None},
    "single stream": {"streams": dataclasses.replace(TINY.streams, dual=False, blocks=2, pixel_depth=6, pixel_heads=16,
                                                     pixel_mlp_width=0)},
    "more queries than image tokens": {"query_count": 23},
    "odd mlp ratios": {"dit": dataclasses.replace(TINY.dit, mlp_ratio=437 / 128),
                       "streams": dataclasses.replace(TINY.streams, pixel_mlp_width=333)},
    "no position table": {"dit": dataclasses.replace(TINY.dit, position="none")},
    "euler": {"sampler": SamplerConfig(kind="euler", shift=1.0, linspace=True)},
    "other head counts": {"dit": dataclasses.replace(TINY.dit, heads=8, head_dim=16, cross_heads=2, cross_head_dim=64)},
    "two kernels": {"decoder": dataclasses.replace(TINY.decoder, scales=((), (), (), (3, 5), (5,), ()))},
    "own guidance": {"guidance_scale": 1.5},
    "own name": {"name": "my model 3"},
}  # fmt: skip


def round_trip(config, directory) -> None:
    write_checkpoint_config(directory, config)
    assert read_config(directory, expected(config)) == config


@pytest.mark.parametrize("name", presets())
def test_presets_round_trip(name: str, tmp_path):
    round_trip(preset(name), tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_round_trip(variant: str, tmp_path):
    round_trip(dataclasses.replace(TINY, **VARIANTS[variant]), tmp_path)


def test_golden_configurations_round_trip(case, tmp_path):
    for name in ("spar-tiny", "unilip-tiny"):
        held = case(name)
        config = read_config(held.directory, held.shapes)
        round_trip(dataclasses.replace(config, name=name), tmp_path / f"{name}-again")


def test_what_has_no_form_is_refused(tmp_path):
    config = dataclasses.replace(TINY, sampler=SamplerConfig(kind="euler"))
    with pytest.raises(ConfigError, match="linspace=False has no form"):
        write_checkpoint_config(tmp_path / "x", config)
    assert not (tmp_path / "x").exists()


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_checkpoint_config(tmp_path / "file", TINY)
