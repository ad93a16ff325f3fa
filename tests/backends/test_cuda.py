"""The CUDA backend on the CPU: the same code without a GPU, its graphs replaced by plain calls."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from spar_engine.backends import choose, gpu
from spar_engine.components import components
from spar_engine.errors import BackendError, MissingDependency

torch = pytest.importorskip("torch")

from spar_engine.api import Engine  # noqa: E402
from spar_engine.backends.base import Backend  # noqa: E402
from spar_engine.backends.cuda import CudaBackend  # noqa: E402
from spar_engine.backends.cuda_values import OnDevice  # noqa: E402
from spar_engine.backends.torch import TorchBackend  # noqa: E402
from spar_engine.runtime import assemble  # noqa: E402
from spar_engine.runtime.assemble import host_parts, open_tokenizer  # noqa: E402
from spar_engine.samplers.schedule import schedule  # noqa: E402
from spar_engine.text import Prompts  # noqa: E402

AXES = {"dit": {"batch": 2, "branch": 3, "height": 5, "width": 7, "tokens": 19}, "language": {"past": 5}}


def make(weights, **options):
    return CudaBackend(weights, **{"device": "cpu", "threads": 1, "bucket": 16} | options)


@pytest.fixture(scope="module")
def opened(weights):
    """Backends that tests share, by kind and precision."""
    made = {}

    def find(kind, precision):
        if (kind, precision) not in made:
            made[kind, precision] = (
                make(weights, precision=precision) if kind == "cuda" else TorchBackend(weights, precision=precision)
            )
        return made[kind, precision]

    return find


def inputs(weights, component, **axes):
    given = components(weights.config)[component].example(np.random.default_rng(5), **AXES.get(component, {}) | axes)
    if component == "dit":
        given["branches"], given["lengths"] = np.array([0, 1, 0]), np.array([19, 1, 12])
        given["final_modulation"] /= 4
    return given


def picture(weights, tokens=21, lengths=(21, 13), steps=3, seed=7, scale=3.5):
    """Inputs of a whole picture."""
    config, rng = weights.config, np.random.default_rng(seed)
    d, plan = config.dit, schedule(config.sampler, steps)
    cross = (d.depth, len(lengths), d.cross_heads, tokens, d.cross_head_dim)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    return {
        "latent": normal(1, d.in_channels, d.sample_size, d.sample_size),
        "modulation": normal(steps, d.depth, 6, d.width) / 3, "final_modulation": normal(steps, 2, d.width) / 3,
        "table": np.stack((plan.sigmas[:-1], plan.a, plan.b, plan.c), axis=1),
        "guidance": np.array([scale], np.float32), "cross_keys": normal(*cross), "cross_values": normal(*cross),
        "lengths": np.array(lengths),
    }  # fmt: skip


def step_by_step(backend, weights, given):
    """The same picture by single steps, with guidance and solver on the host."""
    from spar_engine.samplers import Sampler, guide

    sampler, latent = Sampler.of(weights.config.sampler, len(given["table"])), given["latent"]
    for index in range(len(sampler)):
        rows = {name: given[name][index : index + 1] for name in ("modulation", "final_modulation")}
        velocity = backend.run("dit", rows | {
            "latent": latent, "branches": np.zeros(len(given["lengths"]), np.int64), "lengths": given["lengths"],
            "cross_keys": given["cross_keys"], "cross_values": given["cross_values"]})["velocity"]  # fmt: skip
        if len(velocity) == 2:
            velocity = guide(velocity, float(given["guidance"][0]))
        latent = sampler.step(index, latent, velocity)
    return backend.run("decoder", {"latent": latent / np.float32(weights.config.latent_scale)})["image"]


def off(got, want):
    """Largest error beside the largest value."""
    return float(np.abs(np.asarray(got) - np.asarray(want)).max() / np.abs(np.asarray(want)).max())


def test_it_is_a_backend(opened):
    assert isinstance(opened("cuda", "fp32"), Backend)
    assert opened("cuda", "fp32").name == "cuda"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "component",
    ["vision", "language", "lm_head", "condition", "context", "modulation", "dit", "streams", "decoder"],
)
def test_components_are_as_accurate_as_torch(opened, weights, component, precision):
    """At most twice the error that plain torch has in the same precision, and a unit of the largest value."""
    given = inputs(weights, component)
    exact = opened("torch", "fp64").run(component, given)
    plain = opened("torch", precision).run(component, given)
    got = opened("cuda", precision).run(component, given)
    unit = {"fp32": 2.0**-23, "bf16": 2.0**-8}[precision]
    for name, want in exact.items():
        assert off(got[name], want) <= 2 * off(plain[name], want) + unit, name


def test_the_fused_step_loses_less_than_torch_in_bf16(opened, weights):
    given = inputs(weights, "dit")
    want = opened("torch", "fp64").run("dit", given)["velocity"]
    error, plain = (off(opened(kind, "bf16").run("dit", given)["velocity"], want) for kind in ("cuda", "torch"))
    assert 0 < error <= plain


@pytest.mark.parametrize("lengths", [(21, 13), (13,)])
def test_a_whole_picture_is_its_steps(opened, weights, lengths):
    given = picture(weights, lengths=lengths)
    whole = opened("cuda", "fp32").run("image", given)["image"]
    want = step_by_step(opened("torch", "fp32"), weights, given)
    assert np.asarray(whole).shape == want.shape
    assert off(whole, want) < 2e-5
    assert off(step_by_step(opened("cuda", "fp32"), weights, given), want) < 2e-5


def test_a_capture_runs_the_function_before_it_counts(weights, opened, rehearsed):
    """A capture warms up on the same buffers; the picture must not depend on what that leaves."""

    given, backend = picture(weights), make(weights, precision="fp32")
    want = np.asarray(opened("cuda", "fp32").run("image", given)["image"])
    for _ in range(2):
        assert np.array_equal(np.asarray(backend.run("image", given)["image"]), want)


def test_one_graph_serves_a_bucket_and_every_schedule(weights, opened):
    backend = make(weights, precision="fp32")
    for number, (tokens, lengths) in enumerate([(32, (32, 30)), (17, (17, 5)), (21, (20, 21))]):
        given = picture(weights, tokens, lengths, seed=number, scale=1.5 + number)
        given["table"] = given["table"] * np.float32(0.9)  # another schedule of as many steps
        alone = opened("cuda", "fp32").run("image", given)["image"]
        assert np.array_equal(np.asarray(backend.run("image", given)["image"]), np.asarray(alone))
        assert off(alone, make(weights, precision="fp32", bucket=1).run("image", given)["image"]) < 1e-5
    assert backend._graphs.made == 1
    backend.run("image", picture(weights, 33, (33, 20)))
    backend.run("image", picture(weights, 32, (32, 20), steps=2))
    assert backend._graphs.made == 3


def test_what_an_earlier_prompt_left_is_not_seen(weights):
    """A long prompt of enormous values, then a short one of its bucket, beside the short one alone."""
    long = picture(weights, 32, (32, 32), seed=1)
    for name in ("cross_keys", "cross_values"):
        long[name] = long[name] * np.float32(1e15)
    short = picture(weights, 18, (18, 4), seed=2)
    backend = make(weights, precision="fp32")
    backend.run("image", long)
    again = np.asarray(backend.run("image", short)["image"])
    assert np.array_equal(again, np.asarray(make(weights, precision="fp32").run("image", short)["image"]))


def test_keys_on_the_device_are_copied_once_and_arrays_each_time(weights):
    backend = make(weights, precision="fp32")
    given = picture(weights)
    first = np.asarray(backend.run("image", given)["image"])
    given["cross_values"] *= np.float32(0.5)  # the caller's own array, changed where it lies
    second = np.asarray(backend.run("image", given)["image"])
    assert not np.array_equal(first, second)
    kept = given | {name: OnDevice(torch.from_numpy(given[name].copy())) for name in ("cross_keys", "cross_values")}
    for _ in range(2):
        assert np.array_equal(np.asarray(backend.run("image", kept)["image"]), second)


def test_the_least_used_graph_goes(weights):
    backend = make(weights, precision="fp32", graphs=2)
    for steps in (1, 2, 1, 3):
        backend.run("image", picture(weights, steps=steps))
    assert [key.steps for key in backend._graphs.keys()]  # noqa: SIM118 == [1, 3]
    backend.unload("dit")
    assert backend.about()["buffer_bytes"] == 0


def test_fp8_is_rougher_than_bf16_and_not_by_much(opened, weights):
    given = inputs(weights, "dit")
    want = opened("torch", "fp64").run("dit", given)["velocity"]
    eight, half = (off(opened("cuda", kind).run("dit", given)["velocity"], want) for kind in ("fp8", "bf16"))
    assert half < eight < 0.15  # three bits of mantissa lose 2**-4 a factor


def engine_over(weights, backend):
    prompts = Prompts(open_tokenizer(weights), weights.config)
    return Engine(weights.config, backend, host_parts(weights), prompts, {"backend": backend.name, "precision": "fp32"})


def test_an_engine_draws_the_same_picture(weights, opened):
    """Through the pipelines: at once, watched step by step, and by the torch backend."""

    def draw(backend, **options):
        made = engine_over(weights, backend)
        pixels = made.generate("a red boat", seed=3, num_inference_steps=3, **options).pictures[0].pixels
        return pixels.astype(int), set(made.metrics()["components"])

    seen = []
    want, _ = draw(opened("torch", "fp32"))
    at_once, runs = draw(opened("cuda", "fp32"))
    assert "image" in runs
    assert not {"dit", "decoder"} & runs
    watched, runs = draw(opened("cuda", "fp32"), on_step=seen.append)
    assert "image" not in runs
    assert len(seen) == 3
    for got in (at_once, watched):
        assert np.abs(got - want).max() <= 1
    native, _ = draw(opened("cuda", "fp32"), native=True)
    assert native.shape == (128, 128, 3)


def test_an_engine_is_loaded_and_says_what_it_runs_on(golden_dir, monkeypatch):
    """The whole way of `load`, but for the look for a GPU."""
    monkeypatch.setattr(assemble, "resolve", lambda name: (name, "asked for"))
    folder = golden_dir("spar-tiny") / "checkpoint"
    with assemble.load(folder, backend="cuda", device="cpu", threads=1, bucket=8) as engine:
        assert engine.about["precision"] == "bf16"
        assert (engine.about["device"]["device"], engine.about["device"]["kernels"]) == ("cpu", ["torch"])
        assert engine.generate("a boat", seed=1, num_inference_steps=1).image.size == (112, 112)
        assert "guide_and_step" in engine.backend.about()["answered"]


@pytest.mark.parametrize("task", ["generate", "edit", "ask"])
def test_nothing_waits_for_the_host_between_prompt_and_result(weights, opened, monkeypatch, task):
    """Arrays are made of a picture's bytes, or of logits, and of nothing before them."""
    engine = engine_over(weights, opened("cuda", "fp32"))
    drawn = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    work = {"generate": lambda: engine.generate(["a boat", "a much longer prompt"], seed=1, num_inference_steps=2),
            "edit": lambda: engine.edit(drawn, "red", seed=1, num_inference_steps=2),
            "ask": lambda: engine.ask(drawn, "what?", max_new_tokens=2)}[task]  # fmt: skip
    down, plain = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda value: (down.append(value), plain(value))[1])
    work()
    rows = weights.config.language.vocab_size
    assert down
    assert all(one.dtype == torch.uint8 or one.shape == (1, rows) for one in down), [one.shape for one in down]


def test_values_on_the_device_are_put_together_there():
    rng = np.random.default_rng(0)
    first, second = (rng.standard_normal((2, rows, 4), dtype=np.float32) for rows in (3, 5))
    there = OnDevice(torch.from_numpy(first))
    for parts, plain in (([there, second], [first, second]), ([second, there, there], [second, first, first])):
        made = np.concatenate(parts, axis=1)
        assert isinstance(made, OnDevice)
        assert np.array_equal(np.asarray(made), np.concatenate(plain, axis=1))
    assert np.array_equal(np.stack([there, there], axis=-1), np.stack([first, first], axis=-1))
    assert np.array_equal(there, first)


def test_taps_come_from_the_plain_modules_and_results_from_the_fused(opened, weights):
    given = inputs(weights, "dit")
    found = opened("cuda", "bf16").run("dit", given, taps=True)
    plain = opened("torch", "bf16").run("dit", given, taps=True)
    assert found.keys() == plain.keys()
    assert np.array_equal(found["velocity"], opened("cuda", "bf16").run("dit", given)["velocity"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"precision": "int8"}, "precision='int8' is unknown; it has bf16, fp32, fp8"),
        ({"kernels": "best"}, "kernels='best' is unknown; it has auto, cuda, triton, torch"),
        ({"kernels": "cuda"}, "kernels='cuda' cannot be used: device=cpu is no GPU"),
        ({"kernels": "triton"}, "kernels='triton' cannot be used: no folder of cubins"),
        ({"graphs": -1}, "graphs=-1 must be a whole number of at least 0"),
        ({"bucket": 0}, "bucket=0 must be a whole number of at least 1"),
    ],
)
def test_wrong_options(weights, options, told):
    with pytest.raises(BackendError, match=told):
        make(weights, **options)


def test_branches_that_are_not_there_are_refused(opened, weights):
    with pytest.raises(BackendError, match="names latents that are not among the 2 given"):
        opened("cuda", "fp32").run("dit", inputs(weights, "dit") | {"branches": np.array([0, 2, 0])})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_constructor_says_so(weights):
    with pytest.raises(BackendError, match="device='cuda' needs an NVIDIA GPU and torch for CUDA; this machine"):
        CudaBackend(weights)


def test_a_gpu_is_looked_for_without_torch(tmp_path, monkeypatch):
    assert not gpu.present(tmp_path)
    (tmp_path / "nvidiactl").touch()
    assert gpu.present(tmp_path)
    monkeypatch.setattr(gpu, "present", lambda: True)
    monkeypatch.setattr(gpu, "torch_for_gpu", lambda: True)
    assert choose.resolve("auto")[0] == "cuda"
    monkeypatch.setattr(gpu, "torch_for_gpu", lambda: False)
    assert choose.resolve("auto")[0] != "cuda"
    with pytest.raises(MissingDependency, match="backend='cuda' needs a GPU and torch for it"):
        choose.resolve("cuda")
    program = (
        "import sys; from spar_engine.backends.choose import resolve; resolve('auto'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
