"""What the dataclasses refuse, and how plain data become one."""

from __future__ import annotations

import dataclasses
import math

import pytest
from spar_engine.config import RouterConfig, from_dict, preset, to_dict
from spar_engine.errors import ConfigError

TINY = preset("spar-tiny-random")
NANO = float("nan")

WRONG = {
    "no heads": ("vision", {"heads": 0}, "heads=0"),
    "width not a multiple": ("vision", {"heads": 5}, "width=96"),
    "picture that does not fold": ("vision", {"image_size": 126}, "image_size=126"),
    "key heads": ("language", {"kv_heads": 3}, "heads=4"),
    "endless depth": ("language", {"depth": 10**9}, "depth=1000000000"),
    "theta of nothing": ("language", {"rope_theta": NANO}, "rope_theta=nan"),
    "eps below zero": ("language", {"eps": -1e-6}, "eps=-1e-06"),
    "temperature zero": ("router", {"temperature": 0.0}, "temperature=0.0"),
    "temperature without end": ("router", {"temperature": math.inf}, "temperature=inf"),
    "no picks": ("router", {"picks": 0}, "picks=0"),
    "pixel width missing": ("streams", {"pixel_mlp_width": 0}, "pixel_mlp_width=0"),
    "patched latent": ("dit", {"patch_size": 2}, "patch_size=2"),
    "unequal channels": ("dit", {"out_channels": 16}, "out_channels=16"),
    "cross heads": ("dit", {"cross_heads": 3}, "num_cross_attention_heads=3"),
    "position": ("dit", {"position": "rope"}, "position='rope'"),
    "large latent": ("dit", {"sample_size": 128}, "sample_size=128"),
    "stages differ": ("decoder", {"depths": (1, 1)}, "depths has 2"),
    "no stages": ("decoder", {"channels": ()}, "empty"),
    "even kernel": ("decoder", {"scales": ((), (), (), (5,), (4,), (5,))}, "odd"),
    "kernel without attention": ("decoder", {"scales": ((5,), (), (), (5,), (5,), (5,))}, "attention only"),
    "channels that do not fold": ("decoder", {"channels": (16, 48, 64, 64, 128, 128)}, "stage 0=64"),
    "sampler": ("sampler", {"kind": "heun"}, "kind='heun'"),
    "shift": ("sampler", {"shift": 0}, "shift=0"),
    "linspace of the wrong kind": ("sampler", {"linspace": True}, "linspace"),
}


@pytest.mark.parametrize("case", WRONG)
def test_part_refuses(case: str):
    part, change, message = WRONG[case]
    with pytest.raises(ConfigError, match=message) as caught:
        dataclasses.replace(getattr(TINY, part), **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"router": RouterConfig(picks=9)}, "routing_num_layers=9 does not fit a language model of 8 layers"),
        ({"image_token_id": 1024}, "image_token_id=1024"),
        ({"latent_scale": NANO}, "latent_scale=nan"),
        ({"query_count": 0}, "query_count=0"),
        ({"streams": dataclasses.replace(TINY.streams, pixel_heads=3)}, "dual_stream_num_heads=3"),
        ({"streams": dataclasses.replace(TINY.streams, latent_channels=16)}, "latent channels differ"),
    ],
)
def test_model_refuses(change: dict, message: str):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(("picks", "depth", "levels"), [(1, 8, (8,)), (3, 7, (2, 4, 7)), (8, 8, tuple(range(1, 9)))])
def test_levels(picks: int, depth: int, levels: tuple[int, ...]):
    assert RouterConfig(picks=picks).levels(depth) == levels


def changed(path: str, value: object) -> dict:
    """The tiny model as plain data, with the field at the dotted path set; ... removes it."""
    data = to_dict(TINY)
    *parents, last = path.split(".")
    inner = data
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("language.widht", 5, "model.language: unknown field 'widht'; did you mean 'width'?"),
        ("zzz", 5, "model: unknown field 'zzz'; known are"),
        ("dit.depth", ..., "model.dit: lacks \\['depth'\\]"),
        ("dit.depth", "6", "model.dit.depth='6' must be of type int"),
        ("dit.depth", True, "model.dit.depth=True must be of type int"),
        ("dit.depth", 6.0, "model.dit.depth=6.0 must be of type int"),
        ("streams.dual", 1, "model.streams.dual=1 must be of type bool"),
        ("decoder.channels", 5, "must be a list"),
        ("decoder.channels", [1, "x"], "channels\\[1\\]='x'"),
        ("vision", [1], "not an object"),
        ("vision", None, "not an object"),
    ],
)
def test_plain_data_is_checked(path: str, value: object, message: str):
    with pytest.raises(ConfigError, match=message):
        from_dict(changed(path, value))


def test_plain_data_may_leave_defaults_out_and_give_whole_numbers():
    assert from_dict(changed("router", None)).router is None
    assert from_dict(changed("dit.position", ...)) == TINY
    assert from_dict(changed("latent_scale", 10)).latent_scale == 10.0
