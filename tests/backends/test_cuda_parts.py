"""Components in graphs of padded sizes, on the CPU with plain calls for graphs: what is padded is never seen."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.components import components

torch = pytest.importorskip("torch")

from spar_engine.backends import cuda_parts  # noqa: E402
from spar_engine.backends.cuda import CudaBackend  # noqa: E402
from spar_engine.backends.cuda_parts import ANSWER  # noqa: E402
from spar_engine.backends.torch import TorchBackend  # noqa: E402

BUCKET = 4


@pytest.fixture(scope="module")
def plain(weights):
    return TorchBackend(weights)


@pytest.fixture
def backend(weights):
    return CudaBackend(weights, device="cpu", precision="fp32", threads=1, bucket=BUCKET)


def example(weights, component, seed=0, **axes):
    return components(weights.config)[component].example(np.random.default_rng(seed), **axes)


def close(got, want):
    """Within what another order of float32 sums may change."""
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert np.asarray(got[name]).shape == value.shape, name
        if value.size:
            assert np.abs(np.asarray(got[name]) - value).max() <= 3e-5 * np.abs(value).max(), name


CALLS = {
    "language": [{"tokens": 7, "rows": 5, "past": 0}, {"tokens": 1, "rows": 1, "past": 6},
                 {"tokens": 3, "rows": 3, "past": 4}, {"tokens": 8, "rows": 1, "past": 8},
                 {"tokens": 6, "rows": 2, "past": 3, "batch": 2}],
    "condition": [{"rows": 5, "image_tokens": 0, "tokens": 5}, {"rows": 6, "image_tokens": 3, "tokens": 9},
                  {"rows": 8, "image_tokens": 4, "tokens": 11, "batch": 2}],
    "context": [{"branch": 1, "tokens": 5}, {"branch": 2, "tokens": 8}],
    "vision": [{"tiles": 2}], "streams": [{"tokens": 5}], "decoder": [{"height": 3, "width": 5}],
}  # fmt: skip


@pytest.mark.parametrize(("component", "axes"), [(name, axes) for name, every in CALLS.items() for axes in every])
def test_padded_is_as_unpadded(backend, plain, weights, component, axes):
    given = example(weights, component, **axes)
    if component == "condition":  # places that are not in order
        given["order"] = np.random.default_rng(1).permutation(axes["rows"] + axes["image_tokens"])[: axes["tokens"]]
    if component == "language":
        given["rows"] = np.sort(np.random.default_rng(1).permutation(axes["tokens"])[: axes["rows"]])
    close(backend.run(component, given), plain.run(component, given))


def test_an_answer_is_read_token_by_token_over_the_end_of_a_room(backend, plain, weights):
    """A prompt and so many tokens that the cache outgrows its room once; two graphs of single tokens serve them all."""
    prompt = example(weights, "language", tokens=ANSWER * BUCKET - 3, rows=1, past=0)
    got, want = backend.run("language", prompt), plain.run("language", prompt)
    for token in range(6):
        one = example(weights, "language", seed=token, tokens=1, rows=1)
        got, want = (
            own.run("language", one | {f"past_{name}": was[name] for name in ("keys", "values")})
            for own, was in ((backend, got), (plain, want))
        )
        close(got, want)
    assert backend._parts.made == 3


def test_one_graph_serves_a_bucket(backend, weights):
    for tokens in (5, 8, 6):
        backend.run("language", example(weights, "language", tokens=tokens, rows=tokens, past=0))
        backend.run("condition", example(weights, "condition", rows=tokens, image_tokens=0, tokens=tokens))
        backend.run("context", example(weights, "context", branch=1, tokens=tokens))
    assert backend._parts.made == 3
    backend.run("context", example(weights, "context", branch=1, tokens=9))
    assert backend._parts.made == 4


@pytest.mark.parametrize("worst", [np.nan, 1e30])
@pytest.mark.parametrize("component", ["language", "condition", "context"])
def test_what_an_earlier_call_left_is_not_seen(backend, plain, weights, component, worst):
    large, small = (
        {"language": {"tokens": size, "rows": size, "past": size}, "context": {"branch": 1, "tokens": size},
         "condition": {"rows": size, "image_tokens": size, "tokens": 2 * size}}[component]
        for size in (8, 5)
    )  # fmt: skip
    spoiled = {name: np.full_like(value, worst) if value.dtype == np.float32 else value
               for name, value in example(weights, component, **large).items()}  # fmt: skip
    given = example(weights, component, **small)
    backend.run(component, spoiled)
    close(backend.run(component, given), plain.run(component, given))


@pytest.mark.parametrize("component", CALLS)
def test_results_are_their_own(backend, weights, component, monkeypatch):
    """A captured graph writes the same tensors at each replay; what it gave before must not change with them."""

    class Captured(dict):
        def update(self, found):
            for name, value in found.items():
                self.setdefault(name, torch.empty_like(value)).copy_(value)

    held = cuda_parts.Held
    monkeypatch.setattr(cuda_parts, "Held", lambda inputs: held(inputs, Captured()))
    axes = CALLS[component][0]
    first = backend.run(component, example(weights, component, seed=1, **axes))
    before = {name: np.array(value) for name, value in first.items()}
    second = backend.run(component, example(weights, component, seed=2, **axes))
    for name, value in before.items():
        assert np.array_equal(value, np.asarray(first[name]))
        assert not np.array_equal(value, np.asarray(second[name]))


def test_two_answers_to_one_prompt_do_not_meet(backend, plain, weights):
    """Results are their own: a second call changes nothing that the first one gave."""
    prompt = backend.run("language", example(weights, "language", tokens=6, rows=1, past=0))
    kept = {name: np.array(value) for name, value in prompt.items()}
    caches = {f"past_{name}": prompt[name] for name in ("keys", "values")}
    first = backend.run("language", example(weights, "language", seed=1, tokens=1, rows=1) | caches)
    before = {name: np.array(value) for name, value in first.items()}
    backend.run("language", example(weights, "language", seed=2, tokens=1, rows=1) | caches)
    backend.run("language", example(weights, "language", seed=3, tokens=6, rows=1, past=0))
    for was, now in ((kept, prompt), (before, first)):
        assert all(np.array_equal(was[name], np.asarray(now[name])) for name in was)


def test_a_capture_runs_the_function_before_it_counts(weights, backend, rehearsed):
    again = CudaBackend(weights, device="cpu", precision="fp32", threads=1, bucket=BUCKET)
    for component, every in CALLS.items():
        given = example(weights, component, **every[0])
        for _ in range(2):
            got, want = again.run(component, given), backend.run(component, given)
            assert all(np.array_equal(np.asarray(got[name]), np.asarray(want[name])) for name in want)


def test_graphs_go_with_their_component_and_beyond_their_number(weights):
    backend = CudaBackend(weights, device="cpu", precision="fp32", threads=1, bucket=1, graphs=2)
    for tokens in (1, 2, 3, 4):
        backend.run("context", example(weights, "context", branch=1, tokens=tokens))
    caption = weights.config.dit.caption_width
    assert backend.about()["buffer_bytes"] == 4 * caption * (3 + 4)
    backend.unload("context")
    assert backend.about()["buffer_bytes"] == 0
