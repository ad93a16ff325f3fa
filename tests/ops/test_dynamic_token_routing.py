"""Every variant of the op against the equation, on ordinary and adversarial inputs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from spar_engine.errors import BackendError, InputError
from spar_engine.ops.dynamic_token_routing import dynamic_token_routing, variants
from spar_engine.oracle import dynamic_token_routing as oracle
from spar_engine.oracle.check import MismatchError
from spar_engine.weights.dtypes import to_bf16, to_f32

EXAMPLES = dict(oracle.examples(np.random.default_rng(1)))
MATRICES = ("w1", "w2", "proj_weight")


def in_bf16(inputs, names):
    """The inputs with some of them as bf16 bits, and what they stand for in float32."""
    bits = {name: to_bf16(inputs[name]) for name in names}
    return inputs | bits, inputs | {name: to_f32(value, "BF16") for name, value in bits.items()}


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("name", EXAMPLES)
def test_float32(variant, name):
    routed, weights = dynamic_token_routing(**EXAMPLES[name], want_weights=True, variant=variant)
    assert routed.dtype == weights.dtype == np.float32
    oracle.check_result(routed, weights, EXAMPLES[name])


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("which", [("levels",), MATRICES, ("levels", *MATRICES)], ids=["levels", "matrices", "both"])
def test_bf16(variant, name, which):
    bits, meant = in_bf16(EXAMPLES[name], which)
    routed, weights = dynamic_token_routing(**bits, want_weights=True, variant=variant)
    dtype = "bf16" if "levels" in which else "f32"
    oracle.check_result(to_f32(routed, "BF16") if dtype == "bf16" else routed, weights, meant, dtype)


def test_vectors_may_be_bf16():
    vectors = ("b1", "b2", "scales", "norm_weight", "norm_bias", "proj_bias")
    bits, meant = in_bf16(EXAMPLES["usual"], vectors)
    oracle.check_result(*dynamic_token_routing(**bits, want_weights=True), meant)


def test_the_first_variant_is_the_default_and_scalar_the_last():
    inputs = EXAMPLES["usual"]
    assert variants()[-1] == "scalar"
    np.testing.assert_array_equal(
        dynamic_token_routing(**inputs), dynamic_token_routing(**inputs, variant=variants()[0])
    )


@pytest.mark.parametrize("variant", variants())
def test_a_token_depends_on_itself_only(variant):
    inputs = oracle.random_inputs(np.random.default_rng(2), 3, 101, 72)
    whole = dynamic_token_routing(**inputs, variant=variant)
    for first, last in ((0, 1), (5, 12), (47, 101)):
        part = inputs | {"levels": np.ascontiguousarray(inputs["levels"][:, first:last])}
        np.testing.assert_array_equal(dynamic_token_routing(**part, variant=variant), whole[first:last])


@pytest.mark.parametrize("variant", variants())
def test_many_callers_at_once_get_the_same_bits(variant):
    inputs = [oracle.random_inputs(np.random.default_rng(i), 4, 60 + i, 64) for i in range(8)]
    want = [dynamic_token_routing(**one, variant=variant) for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, one in zip(
                pool.map(lambda i: dynamic_token_routing(**i, variant=variant), inputs), want, strict=True
            ):
                np.testing.assert_array_equal(got, one)


@pytest.mark.parametrize("variant", variants())
def test_the_bits_do_not_depend_on_the_threads(variant):
    inputs = oracle.random_inputs(np.random.default_rng(6), 3, 131, 72)
    want = dynamic_token_routing(**inputs, variant=variant, threads=1)
    for threads in (2, 3, 16):
        np.testing.assert_array_equal(dynamic_token_routing(**inputs, variant=variant, threads=threads), want)


def broken(inputs, **change):
    """What a wrong kernel would return: the equation of changed inputs, rounded to float32."""
    return oracle.dynamic_token_routing(**(inputs | change)).astype(np.float32)


def one_off(inputs):
    routed = broken(inputs)
    routed[-1, -1] += 1e-3
    return routed


SABOTAGES = {
    "one element off": one_off,
    "last level left out": lambda i: broken(i, scales=np.append(i["scales"][:-1], 0)),
    "levels swapped": lambda i: broken(i, levels=i["levels"][[1, 0, 2, 3]]),
    "scales ignored": lambda i: broken(i, scales=np.ones(4)),
    "temperature ignored": lambda i: broken(i, temperature=1.0),
    "last channel of the router left out": lambda i: broken(i, w1=i["w1"] * (np.arange(64) < 63)),
    "last channel of the projection left out": lambda i: broken(i, proj_weight=i["proj_weight"] * (np.arange(64) < 63)),
    "bias left out": lambda i: broken(i, proj_bias=np.zeros(64)),
    "variance over n - 1": lambda i: broken(i, norm_weight=i["norm_weight"] * np.sqrt(63 / 64)),
    "last token not written": lambda i: np.concatenate([broken(i)[:-1], np.zeros((1, 64), np.float32)]),
    "rounded to bf16": lambda i: to_f32(to_bf16(broken(i)), "BF16"),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_the_check_catches(name):
    inputs = oracle.random_inputs(np.random.default_rng(3), 4, 20, 64, temperature=0.8)
    weights = oracle.routing_weights(inputs).astype(np.float32)
    oracle.check_result(broken(inputs), weights, inputs)
    with pytest.raises(MismatchError):
        oracle.check_result(SABOTAGES[name](inputs), weights, inputs)


def test_the_check_catches_wrong_weights():
    inputs = oracle.random_inputs(np.random.default_rng(3), 4, 20, 64)
    weights = oracle.routing_weights(inputs | {"b2": inputs["b2"] + np.float32([0, 0, 0, 0.01])}).astype(np.float32)
    with pytest.raises(MismatchError, match="weights"):
        oracle.check_result(oracle.routed_by(weights, inputs).astype(np.float32), weights, inputs)


REFUSED = [
    ({"scales": np.ones(6, np.float32)}, r"`scales` has depth=6, but `levels` set depth=4"),
    ({"w1": np.ones((48, 95), np.float32)}, r"`w1` has width=95, but `levels` set width=96"),
    ({"levels": np.ones((4, 50), np.float32)}, r"`levels` has shape \[4, 50\], expected \[depth, tokens, width\]"),
    ({"levels": np.ones((4, 50, 96))}, r"`levels` is float64; use float32, or bf16 bits as uint16"),
    (
        {"levels": np.ones((4, 50, 192), np.float32)[:, :, ::2]},
        r"`levels` is not contiguous; pass np.ascontiguousarray",
    ),
    ({"w1": np.ones((96, 48), np.float32).T}, r"`w1` is not contiguous"),
    ({"w1": [[1.0]]}, r"`w1` is a list; pass a numpy array"),
    ({"w2": np.ones((4, 48), np.uint16)}, r"`w1`, `w2` and `proj_weight` differ in type"),
    ({"b1": np.ones(48)}, r"`b1` is float64"),
    ({"temperature": 0.0}, r"temperature=0.0* ?; it must be finite and greater than 0"),
    ({"temperature": np.nan}, r"temperature="),
    ({"eps": 0.0}, r"eps="),
    ({"levels": np.ones((4, 50, 96), ">f4")}, r"`levels` is >f4"),
    ({"threads": 0}, r"threads=0; it must be from 1 to 1024"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refuses(change, message):
    with pytest.raises(InputError, match=r"^dynamic_token_routing: " + message):
        dynamic_token_routing(**(EXAMPLES["usual"] | change))


def test_refuses_a_misaligned_array():
    raw = bytearray(4 * 50 * 96 * 4 + 1)
    levels = np.frombuffer(raw, np.float32, offset=1, count=4 * 50 * 96).reshape(4, 50, 96)
    with pytest.raises(InputError, match="`levels` is not contiguous"):
        dynamic_token_routing(**(EXAMPLES["usual"] | {"levels": levels}))


def test_refuses_an_unknown_variant():
    with pytest.raises(BackendError, match=r"variant 'sse9' is not among those of this machine: .*scalar"):
        dynamic_token_routing(**EXAMPLES["usual"], variant="sse9")
