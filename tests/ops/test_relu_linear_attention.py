"""Every variant of the op against the equation, on ordinary and adversarial inputs."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from spar_engine.errors import BackendError, InputError
from spar_engine.ops.relu_linear_attention import relu_linear_attention, variants
from spar_engine.oracle import relu_linear_attention as oracle
from spar_engine.oracle.check import MismatchError
from spar_engine.weights.dtypes import to_bf16, to_f32

EXAMPLES = dict(oracle.examples(np.random.default_rng(1)))


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("name", EXAMPLES)
def test_float32(variant, name):
    got = relu_linear_attention(**EXAMPLES[name], variant=variant)
    assert got.dtype == np.float32
    oracle.check_result(got, EXAMPLES[name])


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("name", EXAMPLES)
def test_bf16(variant, name):
    bits = {key: to_bf16(value) for key, value in EXAMPLES[name].items()}
    got = relu_linear_attention(**bits, variant=variant)
    assert got.dtype == np.uint16
    oracle.check_result(to_f32(got, "BF16"), {key: to_f32(value, "BF16") for key, value in bits.items()}, "bf16")


@pytest.mark.parametrize("variant", variants())
def test_heads_of_one_projection_need_no_copy(variant):
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((2, 70, 3 * 4 * 32)).astype(np.float32)  # [batch, tokens, q k v of every head]
    q, k, v = (part.reshape(2, 70, 4, 32).transpose(0, 2, 1, 3) for part in np.split(rows, 3, axis=-1))
    dense = relu_linear_attention(*(np.ascontiguousarray(part) for part in (q, k, v)), variant=variant)
    np.testing.assert_array_equal(relu_linear_attention(q, k, v, variant=variant), dense)


@pytest.mark.parametrize("variant", variants())
def test_a_head_depends_on_itself_only(variant):
    inputs = oracle.random_inputs(np.random.default_rng(2), 3, 5, 90, 32)
    whole = relu_linear_attention(**inputs, variant=variant)
    part = {name: np.ascontiguousarray(value[1:2, 3:4]) for name, value in inputs.items()}
    np.testing.assert_array_equal(relu_linear_attention(**part, variant=variant), whole[1:2, 3:4])


@pytest.mark.parametrize("variant", variants())
def test_many_callers_at_once_get_the_same_bits(variant):
    inputs = [oracle.random_inputs(np.random.default_rng(i), 1, 2, 200 + i, 32) for i in range(8)]
    want = [relu_linear_attention(**one, variant=variant) for one in inputs]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for got, one in zip(
                pool.map(lambda i: relu_linear_attention(**i, variant=variant), inputs), want, strict=True
            ):
                np.testing.assert_array_equal(got, one)


def test_eps_keeps_a_query_without_keys_finite():
    inputs = oracle.random_inputs(np.random.default_rng(4), 1, 1, 6, 32)
    inputs["query"] = -np.abs(inputs["query"])
    assert not relu_linear_attention(**inputs).any()
    assert np.isnan(relu_linear_attention(**inputs, eps=0.0)).all()


@pytest.mark.parametrize("variant", variants())
def test_the_bits_do_not_depend_on_the_threads(variant):
    inputs = oracle.random_inputs(np.random.default_rng(6), 2, 5, 70, 32)
    want = relu_linear_attention(**inputs, variant=variant, threads=1)
    for threads in (2, 3, 16):
        np.testing.assert_array_equal(relu_linear_attention(**inputs, variant=variant, threads=threads), want)


def broken(inputs, **change):
    return oracle.relu_linear_attention(**(inputs | change)).astype(np.float32)


def one_off(inputs):
    got = broken(inputs)
    got[0, 1, 17, 31] *= np.float32(1.001)
    return got


def without_last(values):
    """The last token adds nothing."""
    return np.where(np.arange(values.shape[2])[:, None] == values.shape[2] - 1, np.float32(0), values)


SABOTAGES = {
    "one element off": one_off,
    "heads swapped": lambda i: broken(i)[:, [1, 0, 2]],
    "last token left out of the state": lambda i: broken(i, key=without_last(i["key"])),
    "last channel left out": lambda i: broken(i, query=i["query"] * (np.arange(32) < 31)),
    "no ReLU on the queries": lambda i: broken(i, query=np.abs(i["query"])),
    "scaled by the head": lambda i: broken(i) * np.float32(32**-0.5),
    "not divided": lambda i: broken(i, eps=1.0),
    "rounded to bf16": lambda i: to_f32(to_bf16(broken(i)), "BF16"),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_the_check_catches(name):
    inputs = oracle.random_inputs(np.random.default_rng(3), 2, 3, 256, 32)
    oracle.check_result(broken(inputs), inputs)
    with pytest.raises(MismatchError):
        oracle.check_result(SABOTAGES[name](inputs), inputs)


ONES = np.ones((2, 3, 256, 32), np.float32)
REFUSED = [
    ({"key": ONES[:, :2]}, r"`key` has heads=2, but `query` set heads=3"),
    ({"value": ONES[..., :31]}, r"`value` has head_dim=31"),
    ({"value": ONES[0]}, r"`value` has shape \[3, 256, 32\], expected \[batch, heads, tokens, head_dim\]"),
    ({"key": ONES.astype(np.uint16)}, r"`query`, `key` and `value` differ in type"),
    ({"key": ONES.astype(np.float16)}, r"`key` is float16; use float32"),
    ({"key": np.ones((2, 3, 256, 64), np.float32)[..., ::2]}, r"`key` is not contiguous along its last axis"),
    ({"eps": -1.0}, r"eps=-1"),
    ({"eps": np.nan}, r"eps="),
    ({"query": None}, r"`query` is a NoneType; pass a numpy array"),
    ({"threads": 0}, r"threads=0; it must be from 1 to 1024"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refuses(change, message):
    with pytest.raises(InputError, match=r"^relu_linear_attention: " + message):
        relu_linear_attention(**(EXAMPLES["usual"] | change))


def test_refuses_an_unknown_variant():
    with pytest.raises(BackendError, match=r"variant 'sse9' is not among those of this machine: .*scalar"):
        relu_linear_attention(**EXAMPLES["usual"], variant="sse9")
