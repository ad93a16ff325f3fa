"""The decoder in strips gives the bits of the whole picture, and holds what its plan says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from spar_engine.backends import native_decoder, native_memory
from spar_engine.backends.native import PRECISIONS, NativeBackend
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.errors import BackendError, Cancelled, InputError
from spar_engine.runtime import plan
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
    for strips in ((2, 3), (3, 2), (7, 1)):
        np.testing.assert_array_equal(backend.run("decoder", given, strips=strips)["image"], whole, strict=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_strips_of_several_pictures_and_single_lines(deep, precision):
    backend = NativeBackend(deep, precision=precision, threads=3)
    given = latent(backend, height=3, width=2)
    whole = backend.run("decoder", given)["image"]
    for strips in ((1, 1), (2, 1), (5, 2), (96, 3)):
        np.testing.assert_array_equal(backend.run("decoder", given, strips=strips)["image"], whole, strict=True)


def test_decoders_whose_attention_lies_elsewhere():
    """Stages after the last attention can be cut; all of them but the first where there is none."""
    none = {"attention": (False,) * 6, "scales": ((),) * 6}
    early = {"attention": (False, True, False, False, True, False), "scales": ((), (3,), (), (), (3,), ())}
    for changes, stages in ((none, 5), (early, 1)):
        backend = NativeBackend(decoder(**changes), precision="fp32", threads=1)
        given = latent(backend, height=3, width=2)
        whole = backend.run("decoder", given)["image"]
        np.testing.assert_array_equal(backend.run("decoder", given, strips=(3, stages))["image"], whole, strict=True)
        assert max(cut.stages for cut in backend.strips("decoder", SIZES)) == stages
        with pytest.raises(InputError, match=f"but {stages} stages follow the last that sees the whole picture"):
            backend.run("decoder", given, strips=(3, stages + 1))
    backend = NativeBackend(decoder(attention=(True,) * 6, scales=((3,),) * 6), precision="fp32", threads=1)
    given = latent(backend, height=2, width=1)
    assert backend.strips("decoder", {"batch": 1, "height": 16, "width": 16}) == []
    with pytest.raises(InputError, match="but 0 stages follow the last that sees the whole picture"):
        backend.run("decoder", given, strips=(2, 1))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("deeply", [False, True])
def test_the_plan_is_what_is_held(deep, deeply, precision):
    """Never above the plan, and at least half of it; the cut of most work has the least."""
    backend = NativeBackend(deep if deeply else decoder(), precision=precision, threads=1)
    given = latent(backend, batch=2, height=8, width=5)
    sizes, used = components(backend.config)["decoder"].check(given), {}
    every = [None, *backend.strips("decoder", sizes)]
    assert set(every) == {None, *((count, stages) for count in (2, 3, 4, 6, 8) for stages in (1, 2, 3))}
    for strips in every:
        backend.trim()
        backend.run("decoder", given, strips=strips)
        used[strips] = backend._model.scratch
        planned = backend.memory("decoder", sizes, strips)[1]
        assert used[strips] <= planned <= 2 * used[strips], strips
    for stages in (1, 2, 3):  # more strips of the same stages take less
        along = [used[None], *(used[count, stages] for count in (2, 3, 4, 6, 8))]
        assert along == sorted(along, reverse=True)
    assert used[8, 3] < used[None] / 2
    assert every[1] == (2, 1)  # the least work
    need = plan.need(backend, "decoder", sizes)
    assert list(need.cut) == [cut for cut in every[1:] if cut in need.cut]
    scratch = [need.scratch, *need.cut.values()]
    assert scratch == sorted(set(scratch), reverse=True)  # a cut that takes more work and no less memory is left out
    assert need.strips(need.running) is None
    assert need.strips(need.running - 1) == (2, 1)
    assert need.strips(0) == list(need.cut)[-1]


def test_large_pictures_are_cut_unasked(deep, monkeypatch):
    """Within the memory that a picture may take, the cut of least work; the same bits; (1, 1) stays whole."""
    backend = NativeBackend(deep, precision="bf16", threads=1)
    given = latent(backend, batch=1, height=4, width=2)
    sizes = components(backend.config)["decoder"].check(given)

    def held(strips=None):
        backend.trim()
        image = backend.run("decoder", given, strips=strips)["image"]
        return image, backend._model.scratch

    whole, most = held()
    assert native_memory.usual_strips(sizes, backend.config, "bf16") is None
    cuts = backend.strips("decoder", sizes)
    room = native_decoder.buffers(sizes, backend.config.decoder, *native_memory._matrices("bf16"), cuts[0])
    monkeypatch.setattr(native_decoder, "ROOM", room)
    monkeypatch.setattr(native_decoder, "_MOST_WORK", 10.0)
    assert native_memory.usual_strips(sizes, backend.config, "bf16") == cuts[0]
    image, scratch = held()
    assert scratch <= backend.memory("decoder", sizes)[1] == backend.memory("decoder", sizes, cuts[0])[1]
    assert scratch == held(cuts[0])[1] < most
    np.testing.assert_array_equal(image, whole, strict=True)
    np.testing.assert_array_equal(backend.run("decoder", given, taps=True)["image"], whole, strict=True)
    assert held((1, 1))[1] == most
    monkeypatch.setattr(native_decoder, "ROOM", 1)  # none is within it: that of least memory
    least = min(cuts, key=lambda cut: backend.memory("decoder", sizes, cut)[1])
    assert held()[1] == held(least)[1]
    monkeypatch.setattr(native_decoder, "_MOST_WORK", 1.0)
    assert held()[1] == most


@pytest.mark.parametrize("precision", ["bf16", "int4"])
def test_a_picture_of_the_published_models_takes_little(precision):
    """512 pixels of spar-1b: within the room, for at most 4 % more work; 256 pixels are not cut."""
    config = preset("spar-1b")
    sizes = {"batch": 1, "height": 16, "width": 16}
    assert native_memory.scratch("decoder", sizes, config, precision, 2) <= native_decoder.ROOM
    assert native_memory.usual_strips(sizes, config, precision) == (4, 1)
    assert native_memory.usual_strips(sizes | {"height": 8, "width": 8}, config, precision) is None


def test_refusals(deep):
    backend = NativeBackend(deep, precision="fp32", threads=1)
    given = latent(backend, height=2, width=1)
    for count in (0, -1, 65):
        with pytest.raises(InputError, match=rf"strips=\({count}, 1\) of a picture of 64 lines; give 1 to as many"):
            backend.run("decoder", given, strips=(count, 1))
    for stages in (0, -1, 4):
        with pytest.raises(InputError, match="but 3 stages follow the last that sees the whole picture"):
            backend.run("decoder", given, strips=(2, stages))
    with pytest.raises(InputError, match="has no whole inner tensors to show; give none"):
        backend.run("decoder", given, taps=True, strips=(2, 1))
    head = components(backend.config)["lm_head"].example(np.random.default_rng(0))
    with pytest.raises(BackendError, match=r"strips=\(2, 1\) of lm_head; only the decoder can be cut"):
        backend.run("lm_head", head, strips=(2, 1))
    assert backend.strips("dit", {}) == []
    flag = backend.cancel_flag()
    flag.set()
    with pytest.raises(Cancelled):
        backend.run("decoder", given, strips=(2, 1), cancel=flag)
