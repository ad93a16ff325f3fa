"""Random weights: the same for the same seed and name, near unit gain, and exactly bf16."""

from __future__ import annotations

import hashlib

import ml_dtypes
import numpy as np
import pytest
from spar_engine.config import preset
from spar_engine.errors import CheckpointError
from spar_engine.weights import RandomWeights
from spar_engine.weights.dtypes import to_bf16, to_f32

TINY = preset("spar-tiny-random")
LINEAR = "model.dit.transformer_blocks.2.attn1.to_q.weight"


def test_values_depend_on_seed_and_name_only():
    made = RandomWeights(TINY, seed=1)
    np.testing.assert_array_equal(made.raw(LINEAR), RandomWeights(TINY, seed=1).raw(LINEAR))
    np.testing.assert_array_equal(made.raw("lm_head.weight"), made.raw("lm_head.weight"))
    assert (made.raw(LINEAR) != RandomWeights(TINY, seed=2).raw(LINEAR)).any()
    assert (made.raw(LINEAR) != made.raw(LINEAR.replace("to_q", "to_k"))).any()


def test_values_are_pinned():
    """The same on every machine and version: they are part of what `seed` means."""
    digest = hashlib.sha256(RandomWeights(TINY, seed=0).raw(LINEAR).tobytes()).hexdigest()
    assert digest[:16] == "c7c8b32b4b5fb44c"


def test_bits_and_values_agree():
    made = RandomWeights(TINY)
    for name in made.names():
        values, bits = made.f32(name), made.raw(name)
        assert (values.dtype, bits.dtype) == (np.float32, np.uint16)
        assert values.shape == bits.shape == made.info(name).shape
        np.testing.assert_array_equal(to_f32(bits, "BF16"), values)
        assert np.isfinite(values).all()
    made.verify_finite()


def test_spread():
    made = RandomWeights(preset("unilip-1b"))
    cases = {
        "model.dit.transformer_blocks.0.ff.conv_inverted.weight": (0.0, 1152**-0.5),
        "model.vae_decoder.decoder.up_blocks.0.1.conv1.weight": (0.0, (9 * 128) ** -0.5),
        "model.language_model.layers.0.self_attn.q_proj.weight": (0.0, 896**-0.5),
        "model.vision_tower.encoder.layers.0.ls1": (0.1, 0.01),
        "model.language_model.layers.0.input_layernorm.weight": (1.0, 0.05),
        "model.dit.transformer_blocks.0.ff.conv_depth.bias": (0.0, 0.02),
    }
    for name, (mean, deviation) in cases.items():
        values = made.f32(name)
        error = deviation / values.size**0.5  # standard error of the mean; of the deviation it is smaller
        assert abs(values.mean(dtype=np.float64) - mean) < 6 * error + deviation / 250  # bf16 keeps 8 bits
        assert abs(values.std(dtype=np.float64) / deviation - 1) < 6 / values.size**0.5 + 0.01
    assert abs(np.quantile(made.f32("model.projector.weight"), 0.975) * 896**0.5 - 1.96) < 0.02


def test_digest_and_memory():
    made = RandomWeights(TINY, seed=1)
    assert made.sha256() == RandomWeights(TINY, seed=1).sha256()
    assert made.sha256() != RandomWeights(TINY, seed=2).sha256()
    assert made.sha256(made.names("dit")) != made.sha256(made.names("decoder"))
    assert sum(made.memory().values()) == 2 * sum(made.raw(name).size for name in made.names())


@pytest.mark.parametrize("seed", [-1, 1.5, True, "1", None])
def test_seed_is_a_whole_number(seed):
    with pytest.raises(CheckpointError, match="seed="):
        RandomWeights(TINY, seed=seed)


def test_rounding_to_bf16():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**32, 1 << 16, dtype=np.uint32).view(np.float32)
    values[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1.00390625, 1.01171875]  # the last two are ties
    with np.errstate(invalid="ignore"):
        want = values.astype(ml_dtypes.bfloat16)
    got = to_bf16(values)
    nan = np.isnan(values)
    np.testing.assert_array_equal(got[~nan], want.view(np.uint16)[~nan])
    assert np.isnan(got.view(ml_dtypes.bfloat16)[nan].astype(np.float32)).all()
    np.testing.assert_array_equal(to_f32(got, "BF16"), got.view(ml_dtypes.bfloat16).astype(np.float32))
