"""Every shape that the configuration allows runs, on every instruction set, as exactly as torch runs it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from spar_engine.backends.native import NativeBackend
from spar_engine.components import components
from spar_engine.errors import InputError
from spar_engine.weights.random import RandomWeights

from .any_model import any_inputs, any_model
from .conftest import ISAS

torch = pytest.importorskip("torch")

UNIT = {"fp32": 2.0**-16, "bf16": 2.0**-5, "int8": 2.0**-2}  # a wrong order or place gives errors of about 1
PLAIN = {"fp32": "fp32", "bf16": "bf16", "int8": "bf16"}


def off(got, want):
    """Root mean square of the error beside that of the values."""
    got, want = np.asarray(got, np.float64), np.asarray(want)
    assert got.shape == want.shape
    return np.linalg.norm(got - want) / max(np.linalg.norm(want), 1e-30)


@pytest.mark.parametrize("seed", range(10))
def test_any_sizes(seed):
    """Error at most twice that of plain torch and some units, for norms of a few numbers enlarge it by chance."""
    from spar_engine.backends.torch import TorchBackend

    config = any_model(seed)
    weights = RandomWeights(config, seed)
    exact = TorchBackend(weights, precision="fp64")
    plain = {precision: TorchBackend(weights, precision=precision) for precision in ("fp32", "bf16")}
    ours = [("fp32", isa) for isa in ISAS] + [("bf16", None), ("int8", None)]
    opened = [(precision, NativeBackend(weights, precision=precision, isa=isa, threads=2)) for precision, isa in ours]
    for component in components(config):
        given = any_inputs(config, component, seed)
        want = exact.run(component, given)
        rough = {precision: backend.run(component, given) for precision, backend in plain.items()}
        for precision, backend in opened:
            for name, value in backend.run(component, given).items():
                least = off(rough[PLAIN[precision]][name], want[name])
                assert off(value, want[name]) <= 2 * least + UNIT[precision], (component, name, precision, backend.isa)


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_what_an_earlier_call_left_is_not_seen(seed, precision):
    """Padding is multiplied by zeros, which NaN in memory that was used before would survive."""
    config = any_model(seed)
    used, fresh = (NativeBackend(RandomWeights(config, seed), precision=precision, threads=1) for _ in range(2))
    for component in components(config):
        given = any_inputs(config, component, seed)
        want = fresh.run(component, given)
        used.run(component, {name: np.full_like(value, np.nan) if value.dtype == np.float32 else value
                             for name, value in given.items()})  # fmt: skip
        for name, value in used.run(component, given).items():
            np.testing.assert_array_equal(np.asarray(value), np.asarray(want[name]), f"{component}: {name}")


def test_odd_channels_of_a_convolution_are_refused_in_bf16():
    config = any_model(0)
    channels = (config.decoder.channels[-1] - 1,)
    decoder = dataclasses.replace(config.decoder, channels=channels, depths=(1,), attention=(False,), scales=((),),
                                  latent_channels=1)  # fmt: skip
    config = dataclasses.replace(
        config, decoder=decoder, dit=dataclasses.replace(config.dit, in_channels=1, out_channels=1),
        streams=dataclasses.replace(config.streams, latent_channels=1))  # fmt: skip
    backend, given = NativeBackend(RandomWeights(config), precision="bf16"), any_inputs(config, "decoder", 0)
    with pytest.raises(InputError, match="has 1 input channels; bf16 needs an even number, use fp32"):
        backend.run("decoder", given)
    NativeBackend(RandomWeights(config), precision="fp32").run("decoder", given)
