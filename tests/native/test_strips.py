"""The decoder in strips gives the bits of the whole picture, and holds what its plan says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spar_engine.backends.native import PRECISIONS, NativeBackend
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.errors import BackendError, Cancelled, InputError
from spar_engine.weights.random import RandomWeights

SIZES = {"batch": 2, "height": 5, "width": 3}


def decoder(**changes):
    """Random weights of a small model with another decoder."""
    config = preset("spar-tiny-random")
    return RandomWeights(replace(config, decoder=replace(config.decoder, **changes)), seed=3)


def latent(backend, **sizes):
    return components(backend.config)["decoder"].example(np.random.default_rng(7), **(SIZES | sizes))


@pytest.fixture(scope="module")
def deep():
    """Blocks as many as in the published models, so that a strip reaches as far beyond its own lines."""
    return decoder(channels=(16, 16, 32, 32, 64, 64), depths=(3, 3, 3, 1, 1, 1))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_strips_give_the_bits_of_the_whole_picture(deep, precision, isa):
    backend = NativeBackend(deep, precision=precision, threads=1, isa=isa)
    given = latent(backend, height=2, width=1, batch=1)
    whole = backend.run("decoder", given)["image"]
    for strips in (2, 3, 7):
        np.testing.assert_array_equal(backend.run("decoder", given, strips=strips)["image"], whole, strict=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_strips_of_several_pictures_and_single_lines(deep, precision):
    backend = NativeBackend(deep, precision=precision, threads=3)
    given = latent(backend, height=3, width=2)
    whole = backend.run("decoder", given)["image"]
    for strips in (2, 5, 96):
        np.testing.assert_array_equal(backend.run("decoder", given, strips=strips)["image"], whole, strict=True)


def test_decoders_whose_attention_lies_elsewhere():
    """Stages are cut from the last attention on; all of them but the first where there is none."""
    none = {"attention": (False,) * 6, "scales": ((),) * 6}
    early = {"attention": (False, True, False, False, True, False), "scales": ((), (3,), (), (), (3,), ())}
    for changes in (none, early):
        backend = NativeBackend(decoder(**changes), precision="fp32", threads=1)
        given = latent(backend, height=3, width=2)
        whole = backend.run("decoder", given)["image"]
        np.testing.assert_array_equal(backend.run("decoder", given, strips=3)["image"], whole, strict=True)
    backend = NativeBackend(decoder(attention=(True,) * 6, scales=((3,),) * 6), precision="fp32", threads=1)
    given = latent(backend, height=2, width=1)
    assert backend.strips("decoder", {"batch": 1, "height": 16, "width": 16}) == [1]
    with pytest.raises(InputError, match="strips=2, but its last stage sees the whole picture; give 1"):
        backend.run("decoder", given, strips=2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("deeply", [False, True])
def test_the_plan_is_what_is_held(deep, deeply, precision):
    """Never above the plan, at least half of it, and less with more strips."""
    backend = NativeBackend(deep if deeply else decoder(), precision=precision, threads=1)
    given = latent(backend, batch=2, height=8, width=5)
    sizes, used = components(backend.config)["decoder"].check(given), []
    assert backend.strips("decoder", sizes) == [1, 2, 3, 4, 6, 8]
    for strips in backend.strips("decoder", sizes):
        backend.trim()
        backend.run("decoder", given, strips=strips)
        used.append(backend._model.scratch)
        planned = backend.memory("decoder", sizes, strips)[1]
        assert used[-1] <= planned <= 2 * used[-1], strips
    assert used == sorted(used, reverse=True)
    assert used[-1] < used[0] / 2


def test_refusals(deep):
    backend = NativeBackend(deep, precision="fp32", threads=1)
    given = latent(backend, height=2, width=1)
    for strips in (0, -1, 65):
        with pytest.raises(InputError, match=f"strips={strips} of a picture of 64 lines; give 1 to as many"):
            backend.run("decoder", given, strips=strips)
    with pytest.raises(InputError, match="strips=2 has no whole inner tensors to show"):
        backend.run("decoder", given, taps=True, strips=2)
    head = components(backend.config)["lm_head"].example(np.random.default_rng(0))
    with pytest.raises(BackendError, match="strips=2 of lm_head; only the decoder can be cut"):
        backend.run("lm_head", head, strips=2)
    assert backend.strips("dit", {}) == [1]
    flag = backend.cancel_flag()
    flag.set()
    with pytest.raises(Cancelled):
        backend.run("decoder", given, strips=2, cancel=flag)
