"""Schedules and solver steps against the golden vectors of schedulers/ and appendix A of the specification."""

import json

import numpy as np
import pytest
from spar_engine.config import SamplerConfig
from spar_engine.errors import InputError
from spar_engine.samplers import Sampler, advance, schedule

CONFIGS = {
    "dpm_flow_shift3": SamplerConfig(),
    "euler_shift1": SamplerConfig(kind="euler", shift=1.0),
    "euler_shift3": SamplerConfig(kind="euler", shift=3.0),
    "euler_linspace": SamplerConfig(kind="euler", shift=1.0, linspace=True),
}

APPENDIX_A = {  # step: timestep, sigma, a, b, c
    0: (999, 0.999666, 0.982747, 0.017253, 0.0),
    1: (982, 0.982420, 0.981191, 0.020550, -0.001741),
    9: (785, 0.785340, 0.954523, 0.067764, -0.022286),
    15: (499, 0.499667, 0.857102, 0.224694, -0.081796),
    18: (249, 0.249792, 0.545413, 0.821727, -0.367140),
    19: (136, 0.136240, 0.0, 1.0, 0.0),
}


def velocity(latent, timestep):
    t = np.float32(timestep)
    wave = np.sin(np.float32(1.3) * latent + np.float32(0.002) * t)
    return wave - np.float32(0.4) * np.roll(latent, 1, -1) + np.float32(0.15) * latent * (t / np.float32(1000))


@pytest.mark.parametrize("steps", [1, 2, 4, 20, 50])
@pytest.mark.parametrize("name", CONFIGS)
def test_golden_trajectory(name, steps, golden, golden_tensors):
    want = golden_tensors(f"schedulers/{name}")
    bounds = json.loads(golden("schedulers/tolerances.json").read_text())[name]
    sampler = Sampler.of(CONFIGS[name], steps)
    for part in ("timesteps", "sigmas"):
        key = f"n{steps}.{part}"
        got = getattr(sampler, part)
        assert got.dtype == want[key].dtype
        assert np.abs(got - want[key]).max() <= (bounds[key]["atol"] or 0), key
    latent = want["in.noise"]
    for step in range(steps):
        moved = velocity(latent, sampler.timesteps[step])
        latent = sampler.step(step, latent, moved)
        for key, got in ((f"n{steps}.model_output", moved), (f"n{steps}.samples", latent)):
            assert got.dtype == np.float32
            assert np.abs(got - want[key][step]).max() <= bounds[key]["atol"], (key, step)


@pytest.mark.parametrize("name", ["t2i_0", "t2i_1", "edit"])
@pytest.mark.parametrize("model", ["spar-tiny", "unilip-tiny"])
def test_golden_latents_of_whole_runs(model, name, golden_tensors, golden_tolerance):
    """The stored guided velocities, one step at a time from the stored latents."""
    want = golden_tensors(f"{model}/{name}")
    sampler = Sampler.of(SamplerConfig(), 20)
    np.testing.assert_array_equal(sampler.timesteps, want["timesteps"])
    assert np.abs(sampler.sigmas - want["sigmas"]).max() <= golden_tolerance(f"{model}/{name}", "sigmas")["atol"]
    latent = want["in.noise"]
    bound = golden_tolerance(f"{model}/{name}", "latents")["atol"]
    for step in range(20):
        latent = sampler.step(step, latent, want["guided"][step])
        assert np.abs(latent - want["latents"][step]).max() <= bound


def test_appendix_a():
    plan = schedule(SamplerConfig(), 20)
    for step, (timestep, sigma, a, b, c) in APPENDIX_A.items():
        assert plan.timesteps[step] == timestep
        got = [plan.sigmas[step], plan.a[step], plan.b[step], plan.c[step]]
        np.testing.assert_allclose(got, [sigma, a, b, c], rtol=0, atol=6e-7)


@pytest.mark.parametrize("kind", ["dpm-solver++", "euler"])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100, 999, 1000])
def test_any_number_of_steps(kind, steps):
    plan = schedule(SamplerConfig(kind=kind), steps)
    assert len(plan) == steps == len(plan.timesteps) == len(plan.sigmas) - 1
    assert (np.diff(plan.sigmas) < 0).all()
    assert plan.sigmas[-1] == 0
    assert (plan.timesteps >= 0).all()
    assert (plan.timesteps <= 1000).all()
    # every step is an affine combination: a constant latent that the model calls clean stays as it is
    np.testing.assert_allclose(
        plan.a.astype(np.float64) + plan.b + plan.c, 1, rtol=0, atol=4 * 2.0**-24 * (1 + np.abs(plan.b).max())
    )
    assert (plan.a[-1], plan.b[-1], plan.c[-1]) == (0, 1, 0)  # the last step returns the data prediction
    second = plan.second
    assert not second[0]
    assert not second[-1]
    assert second[1:-1].all() == (kind == "dpm-solver++" or steps < 3)


def test_one_step_is_first_order_and_returns_the_prediction():
    plan = schedule(SamplerConfig(), 1)
    rng = np.random.default_rng(0)
    latent, moved = rng.standard_normal((2, 1, 4, 2, 3), dtype=np.float32)
    after, data = advance(plan, 0, latent, moved)
    np.testing.assert_array_equal(after, data)
    np.testing.assert_allclose(data, latent - plan.sigmas[0] * moved, rtol=0, atol=0)


def test_second_order_is_exact_where_the_model_is_linear_in_log_snr():
    """Data predictions on a straight line in lambda: the midpoint rule then takes the line's value in the middle."""
    plan = schedule(SamplerConfig(), 10)
    sigma = plan.sigmas.astype(np.float64)
    half_log_snr = np.log((1 - sigma[:-1]) / sigma[:-1])
    line = 2.0 + 0.5 * half_log_snr
    latent = 0.3
    for i in range(1, 9):
        middle = 2.0 + 0.5 * (half_log_snr[i] + (half_log_snr[i + 1] - half_log_snr[i]) / 2)
        want = sigma[i + 1] / sigma[i] * latent + (1 - sigma[i + 1] / sigma[i]) * middle
        got = plan.a[i] * latent + plan.b[i] * line[i] + plan.c[i] * line[i - 1]
        assert got == pytest.approx(want, abs=2e-6)


def test_steps_are_pure_and_requests_can_be_interleaved():
    rng = np.random.default_rng(1)
    config = SamplerConfig()
    starts = rng.standard_normal((2, 1, 3, 4, 4), dtype=np.float32)

    def alone(latent):
        sampler = Sampler.of(config, 6)
        for step in range(6):
            latent = sampler.step(step, latent, velocity(latent, sampler.timesteps[step]))
        return latent

    want = [alone(start) for start in starts]
    samplers = [Sampler.of(config, 6), Sampler.of(config, 6)]
    latents = list(starts.copy())
    for step in range(6):
        for which, sampler in enumerate(samplers):
            before, moved = latents[which].copy(), velocity(latents[which], sampler.timesteps[step])
            kept = moved.copy()
            after = sampler.step(step, latents[which], moved)
            np.testing.assert_array_equal(latents[which], before)
            np.testing.assert_array_equal(moved, kept)
            latents[which] = after
    for got, expected in zip(latents, want, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_batch_equals_its_rows():
    rng = np.random.default_rng(2)
    plan = schedule(SamplerConfig(), 5)
    latent, moved, previous = rng.standard_normal((3, 4, 3, 2, 2), dtype=np.float32)
    together, _ = advance(plan, 2, latent, moved, previous)
    for row in range(4):
        alone, _ = advance(plan, 2, latent[row], moved[row], previous[row])
        np.testing.assert_array_equal(together[row], alone)


def test_plans_are_shared_and_read_only():
    assert schedule(SamplerConfig(), 20) is schedule(SamplerConfig(), 20)
    for array in (schedule(SamplerConfig(), 20).a, Sampler.of(SamplerConfig(), 20).sigmas):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize("steps", [0, -3, 1001, 20.0, 2.5, "20", None, True, np.True_, float("nan")])
def test_bad_steps(steps):
    schedule(SamplerConfig(), 1)  # True == 1 and 20.0 == 20 must not find a cached plan
    schedule(SamplerConfig(), 20)
    with pytest.raises(InputError, match=r"num_inference_steps=.* is not a whole number from 1 to 1000"):
        Sampler.of(SamplerConfig(), steps)


def test_numpy_integers_are_whole_numbers():
    assert len(schedule(SamplerConfig(), np.int32(3))) == 3


def test_steps_out_of_turn():
    sampler = Sampler.of(SamplerConfig(), 2)
    latent = np.zeros((1, 2), np.float32)
    with pytest.raises(InputError, match="step 1 of 2 out of turn; the next one is 0"):
        sampler.step(1, latent, latent)
    sampler.step(0, latent, latent)
    with pytest.raises(InputError, match="step 0 of 2 out of turn"):
        sampler.step(0, latent, latent)
    sampler.step(1, latent, latent)
    with pytest.raises(InputError, match="step 2 of 2 out of turn"):
        sampler.step(2, latent, latent)


def test_mistyped_and_misshaped_arrays():
    sampler = Sampler.of(SamplerConfig(), 2)
    latent = np.zeros((1, 2), np.float32)
    with pytest.raises(InputError, match="velocity is float16, expected float32"):
        sampler.step(0, latent, latent.astype(np.float16))
    with pytest.raises(InputError, match="latent is float64"):
        sampler.step(0, latent.astype(np.float64), latent)
    with pytest.raises(InputError, match=r"velocity has shape \(2, 2\), the latent \(1, 2\)"):
        sampler.step(0, latent, np.zeros((2, 2), np.float32))
    assert sampler.index == 0
