"""Profiles follow from the specs: every request that a component takes has one, and they do not overlap in prompts."""

from __future__ import annotations

import pytest
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.errors import InputError
from spar_export.tensorrt.profiles import (
    MOST,
    PROMPT,
    buckets,
    chosen_buckets,
    fixed_sizes,
    merged,
    profiles,
)
from spar_export.tensorrt.watch import share

CONFIG = preset("spar-1b")
SPECS = components(CONFIG)
LIMITS = buckets(CONFIG.query_count, CONFIG.vision.tokens, CONFIG.language.max_positions)


def takes(profile, sizes):
    return all(low <= sizes.get(axis, mid) <= high for axis, (low, mid, high) in profile.axes.items())


def test_buckets_follow_from_the_model():
    assert LIMITS == (288, 352, 576, 768)
    assert buckets(256, 256, 300) == (288, 300)
    assert chosen_buckets("100,200", 300) == (100, 200)
    for wrong in ("0,5", "200,100", "100,400", "a", ""):
        with pytest.raises(InputError, match=r"--buckets"):
            chosen_buckets(wrong, 300)


@pytest.mark.parametrize("name", SPECS)
def test_every_size_is_fixed_or_in_a_profile(name):
    spec = SPECS[name]
    for dynamic in (False, True):
        fixed = fixed_sizes(spec, dynamic)
        for profile in profiles(spec, LIMITS, dynamic):
            assert profile.axes.keys() | fixed.keys() == spec.ranges.keys()
            for axis, (low, mid, high) in profile.axes.items():
                least, _, most = spec.ranges[axis]
                assert least <= low <= mid <= high <= most, (profile, axis)
    usual = {axis: usual for axis, (_, usual, _) in spec.ranges.items()}
    assert any(takes(profile, usual) for profile in profiles(spec, LIMITS, False))


@pytest.mark.parametrize("name", PROMPT)
def test_each_prompt_has_one_bucket(name):
    found = [profile for profile in profiles(SPECS[name], LIMITS, False) if profile.name.startswith("tokens-")]
    assert [profile.name for profile in found] == [f"tokens-{limit}" for limit in LIMITS]
    for tokens in (1, 2, 288, 289, 352, 353, 576, 577, 768):
        sizes = {"tokens": tokens, "rows": 1, "image_tokens": 0, "past": 0}
        assert sum(takes(profile, sizes) for profile in found) == 1
    assert not any(takes(profile, {"tokens": 769, "rows": 1, "past": 0}) for profile in found)


def test_decoding_has_a_profile_of_its_own():
    found = profiles(SPECS["language"], LIMITS, False)
    (decode,) = [profile for profile in found if takes(profile, {"tokens": 1, "rows": 1, "past": 500})]
    assert decode.name == "decode"


def test_other_pictures_need_a_dynamic_profile():
    sizes = {"height": 20, "width": 12}
    static, dynamic = (profiles(SPECS["decoder"], LIMITS, free) for free in (False, True))
    assert fixed_sizes(SPECS["decoder"], False) == {"batch": 1, "height": 16, "width": 16}
    assert fixed_sizes(SPECS["decoder"], True) == {"batch": 1}
    assert not any(takes(profile, sizes) for profile in dynamic[:-1])
    assert takes(dynamic[-1], sizes)
    assert len(static) == 1


@pytest.mark.parametrize("name", SPECS)
def test_one_profile_for_all_takes_what_any_takes(name):
    found = profiles(SPECS[name], LIMITS, True)
    (all_,) = merged(found)
    for profile in found:
        for which in (0, 2):
            assert takes(all_, {axis: span[which] for axis, span in profile.axes.items()})
    assert {axis: span[1] for axis, span in all_.axes.items()} == {a: s[1] for a, s in found[0].axes.items()}
    assert all(all_.axes[axis][2] <= most for axis, most in MOST.items() if axis in all_.axes)


def test_the_share_of_a_build_that_is_done():
    assert share([]) is None
    assert share([["build", 1, 4]]) == 0.25
    assert share([["build", 1, 4], ["inner", 1, 2]]) == pytest.approx(0.375)
    assert share([["build", 4, 4], ["inner", 9, 2]]) == 1.0
    assert share([["build", 0, 0]]) == 0.0
