"""Precision int4: the model that its rounded weights make, what stays in 8 bits, and rows by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.backends.native import NativeBackend
from spar_engine.components import components
from spar_engine.weights import Checkpoint

from .four_bits import opened

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint(golden_dir):
    return Checkpoint.open(golden_dir("spar-tiny/checkpoint"))


@pytest.fixture(scope="module")
def int4(checkpoint):
    return NativeBackend(checkpoint, precision="int4", threads=2)


def given(config, component: str, **axes: int) -> dict[str, np.ndarray]:
    return components(config)[component].example(np.random.default_rng(5), **axes)


class RoundedWeights:
    """The checkpoint with the weights of some linears as their 4 bits have them."""

    def __init__(self, checkpoint, native):
        self.config, self._checkpoint, self._native = checkpoint.config, checkpoint, native

    def f32(self, name: str) -> np.ndarray:
        plain = self._checkpoint.f32(name)
        text = name.startswith(("model.language_model.layers.", "lm_head."))
        if not text or not name.endswith(("proj.weight", "lm_head.weight")):
            return plain
        values, _ = opened(self._native.native_panels(plain, type="s4"), *plain.shape)
        assert not np.array_equal(values, plain)
        return values.astype(np.float32)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.mark.parametrize(("component", "axes"), [("language", {"tokens": 21, "rows": 21}),
                                                 ("language", {"tokens": 1, "rows": 1, "past": 30}),
                                                 ("lm_head", {"batch": 3})])  # fmt: skip
def test_it_is_the_model_of_the_rounded_weights(checkpoint, native, int4, component, axes):
    """Only activations are rounded beside: to 8 bits in groups, at most three times what bf16 loses alone."""
    from spar_engine.backends.torch import TorchBackend

    inputs = given(checkpoint.config, component, **axes)
    exact = TorchBackend(RoundedWeights(checkpoint, native), precision="fp64").run(component, inputs)
    whole = TorchBackend(checkpoint, precision="fp64").run(component, inputs)
    bf16 = NativeBackend(checkpoint, precision="bf16", threads=1).run(component, inputs)
    got = int4.run(component, inputs)
    for name, want in exact.items():
        allowed = 3 * rms(np.asarray(bf16[name]) - whole[name]) + 1e-6 * rms(want)
        assert rms(np.asarray(got[name]) - want) <= allowed, name
        assert rms(want - whole[name]) > 4 * rms(np.asarray(bf16[name]) - whole[name]), name  # 4 bits do show


@pytest.mark.parametrize("component", ["vision", "condition", "context", "modulation", "dit", "streams", "decoder"])
def test_everything_else_is_as_in_int8(checkpoint, int4, component):
    inputs = given(checkpoint.config, component)
    want = NativeBackend(checkpoint, precision="int8", threads=1).run(component, inputs)
    for name, value in int4.run(component, inputs).items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(want[name]), err_msg=name)


def test_token_by_token_gives_the_keys_of_all_at_once(checkpoint, int4):
    """A row of a product does not depend on how many there are, so the first layer's keys are the same bits."""
    config = checkpoint.config
    inputs = given(config, "language", tokens=9, rows=9)
    whole = np.asarray(int4.run("language", inputs)["keys"])
    state = {"past_keys": inputs["past_keys"], "past_values": inputs["past_values"]}
    for token in range(9):
        out = int4.run("language", {"inputs_embeds": inputs["inputs_embeds"][:, token : token + 1],
                                    "rows": np.zeros(1, np.int64), **state})  # fmt: skip
        state = {"past_keys": out["keys"], "past_values": out["values"]}
    np.testing.assert_array_equal(np.asarray(state["past_keys"])[0], whole[0])


def test_weights_take_a_quarter(checkpoint, int4):
    """4.5 bits a weight beside 16, less what is not a linear layer."""
    sizes = {}
    for precision in ("bf16", "int8", "int4"):
        backend = NativeBackend(checkpoint, precision=precision, threads=1)
        backend.load("lm_head")
        sizes[precision] = backend.memory("lm_head", {"batch": 1})[0]
    assert sizes["int4"] == pytest.approx(sizes["bf16"] * 9 / 32, rel=0.01)
    assert sizes["int4"] < 0.6 * sizes["int8"]
