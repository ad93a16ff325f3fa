"""Arrays in and out of the CUDA ops by `__dlpack__` and `__cuda_array_interface__`: layouts, devices, streams."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.oracle import layer_norm_modulate, relu_linear_attention
from spar_engine.weights.dtypes import to_bf16, to_f32

from .devices import OnDevice, as_bf16, empty
from .producers import Producer
from .runners import run_norm

BATCH, TOKENS, WIDTH = 2, 3, 16


@pytest.fixture
def ops(emulated):
    yield emulated.ops
    emulated.device(0)
    emulated.host_pointer(0)


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy whose address is a multiple of 16, as every allocation on a GPU has it."""
    memory = np.zeros(array.nbytes + 16, np.uint8)
    start = -memory.ctypes.data % 16
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.fixture
def inputs():
    return layer_norm_modulate.random_inputs(np.random.default_rng(1), BATCH, TOKENS, WIDTH)


@pytest.fixture
def arrays(inputs):
    """Keywords of a valid layer_norm_modulate, as numpy arrays; `out` takes bf16 bits."""
    made = {name: aligned(value) for name, value in inputs.items()}
    return made | {"out": aligned(np.zeros((BATCH, TOKENS, WIDTH), np.uint16))}


def shared(arrays: dict, **options) -> dict[str, Producer]:
    return {name: Producer(array, **options) for name, array in arrays.items()}


def one(arrays: dict, name: str, **options) -> dict[str, Producer]:
    """All shared in the usual way, and one with options."""
    return shared(arrays) | {name: Producer(arrays[name], **options)}


def check(arrays, inputs):
    layer_norm_modulate.check_result(to_f32(arrays["out"], "BF16"), inputs, "bf16")


@pytest.mark.parametrize(
    "options",
    [{}, {"version": None}, {"version": (1, 7)}, {"strides": False}, {"offset": 64}, {"device": (13, 3)}],
    ids=str,
)
def test_dlpack_in_and_out(ops, emulated, arrays, inputs, options):
    """Every version, with and without strides, an offset, and memory that all devices share."""
    given = shared(arrays, **options)
    assert ops.layer_norm_modulate(**given) is None
    check(arrays, inputs)
    for array in given.values():
        assert array.used()
        assert array.returned == 1
    same, *_ = run_norm(emulated.ops, inputs, bf16=False)  # the other protocol
    np.testing.assert_array_equal(same, arrays["out"])


def test_numpy_and_torch_share_what_they_have(ops, arrays, inputs):
    """Whoever speaks DLPack: numpy's arrays, and torch's tensors with a type that numpy has not."""
    torch = pytest.importorskip("torch")
    ops.layer_norm_modulate(**arrays)
    check(arrays, inputs)
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    tensors["out"] = tensors["out"].view(torch.bfloat16).zero_()
    ops.layer_norm_modulate(**tensors)
    check(arrays, inputs)
    with pytest.raises(InputError, match=r"`x` cannot be shared by DLPack: .*require gradient"):
        ops.layer_norm_modulate(**{**tensors, "x": tensors["x"].clone().requires_grad_()})


def test_strides_of_torch(ops):
    """query, key and value as thirds of one projection, token-major, in bf16; the result heads-first over the same."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    rows = as_bf16(rng.standard_normal((2, 40, 3, 3, 32)))
    whole = torch.from_numpy(aligned(to_bf16(rows))).view(torch.bfloat16)
    parts = dict(zip(("query", "key", "value"), whole.unbind(2), strict=True))
    out = torch.from_numpy(aligned(np.zeros((2, 40, 3, 32), np.uint16))).view(torch.bfloat16)
    ops.relu_linear_attention(**{name: part.transpose(1, 2) for name, part in parts.items()}, out=out.transpose(1, 2))
    given = {name: part.transpose(1, 2).float().numpy() for name, part in parts.items()}
    relu_linear_attention.check_result(out.transpose(1, 2).float().numpy(), given, "bf16")


def test_what_was_lent_is_given_back_once_however_the_call_ends(ops, arrays):
    given = one(arrays, "out", flags=1)
    with pytest.raises(InputError, match="`out` is read-only; pass an array that may be written"):
        ops.layer_norm_modulate(**given)
    assert [array.returned for array in given.values()] == [1, 1, 1, 1]
    foreign = one(arrays, "x", version=(2, 0))
    with pytest.raises(InputError, match="`x` is shared by version 2 of DLPack; this module reads version 1"):
        ops.layer_norm_modulate(**foreign)
    assert foreign["x"].returned == 1


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("out", {"flags": 2}, "`out` is a copy that its producer made"),
        ("x", {"kind": (2, 16, 1)}, "`x` has elements of type float16; the ops take float32, bf16, float8"),
        ("x", {"kind": (2, 32, 4)}, "`x` has elements of type float32 in groups of 4"),
        ("x", {"kind": (12, 8, 1)}, "`x` has elements of type code 12, bits 8"),
        ("shift", {"device": (10, 0)}, "`shift` lies on a device of DLPack's type 10; pass an array on the GPU"),
        ("shift", {"device": (2, 1)}, "`shift` lies on GPU 1, but GPU 0 is the current one"),
    ],
)
def test_what_no_kernel_can_use(ops, arrays, name, options, words):
    with pytest.raises(InputError, match=f"layer_norm_modulate: {words}"):
        ops.layer_norm_modulate(**one(arrays, name, **options))


def test_a_copied_input_is_as_good_as_any(ops, arrays, inputs):
    ops.layer_norm_modulate(**one(arrays, "x", flags=3))
    check(arrays, inputs)


def test_strides_are_elements(ops, arrays, inputs):
    """Rows of the modulation lie apart, as in a table with other vectors between them; `x` may not."""
    table = aligned(np.stack((inputs["shift"], inputs["scale"]), axis=1))
    ops.layer_norm_modulate(**shared(arrays | {"shift": table[:, 0], "scale": table[:, 1]}))
    check(arrays, inputs)
    turned = aligned(inputs["x"].transpose(1, 0, 2)).transpose(1, 0, 2)
    with pytest.raises(InputError, match="`x` is not contiguous; pass a contiguous copy"):
        ops.layer_norm_modulate(**shared(arrays | {"x": turned}))


@pytest.mark.parametrize(("stream", "asked"), [(None, 1), (0, 1), (1, 1), (2, 2), (0xABCD0, 0xABCD0)])
def test_a_producer_is_told_the_stream(ops, arrays, stream, asked):
    """The default stream has number 1 in the protocol; memory of the CPU has none."""
    given = shared(arrays)
    ops.layer_norm_modulate(**given, stream=stream)
    assert all(array.asked == [{"stream": asked, "max_version": (1, 0)}] for array in given.values())
    given = shared(arrays, device=(1, 0), version=None)
    ops.layer_norm_modulate(**given, stream=stream)
    assert all(array.asked == [{"stream": None}] for array in given.values())


@pytest.mark.parametrize("stream", [-1, 0.5, "0", object()])
def test_streams_are_numbers(ops, arrays, stream):
    with pytest.raises(InputError, match=r"layer_norm_modulate: `stream` is .*; pass the stream's address as a number"):
        ops.layer_norm_modulate(**shared(arrays), stream=stream)


def interfaces(inputs: dict, **changed) -> dict[str, OnDevice]:
    """The same call by `__cuda_array_interface__`; what changes, changes in `x`."""
    given = {name: OnDevice(value) for name, value in inputs.items()}
    given["x"].__cuda_array_interface__ |= changed
    return given | {"out": empty((BATCH, TOKENS, WIDTH), "uint16")}


@pytest.mark.parametrize(
    ("ours", "producer", "waits"),
    [
        (0, None, False), (0, 1, False), (1, 1, False), (0x70, 0x70, False),
        (0x70, 1, True), (0, 2, True), (0x70, 0x80, True),
    ],
)  # fmt: skip
def test_ours_waits_for_the_producers_stream(ops, emulated, inputs, ours, producer, waits):
    before, *_ = emulated.waits()
    ops.layer_norm_modulate(**interfaces(inputs, version=3, stream=producer), stream=ours)
    count, waiting, awaited = emulated.waits()
    assert count - before == waits
    if waits:
        assert (waiting or 0, awaited) == (ours, producer)


def test_interfaces_that_are_refused(ops, emulated, inputs):
    for changed, words in [
        ({"stream": 0}, "`x` names stream 0, which the protocol forbids"),
        ({"mask": object()}, "`x` has a mask"),
        ({"strides": (4,)}, "`x` has 1 strides for 3 axes"),
        ({"shape": None}, "`x` has no valid __cuda_array_interface__"),
    ]:
        with pytest.raises(InputError, match=f"layer_norm_modulate: {words}"):
            ops.layer_norm_modulate(**interfaces(inputs, **changed))
    given = interfaces(inputs)
    del given["x"].__cuda_array_interface__["data"]
    with pytest.raises(InputError, match="`x` has no valid __cuda_array_interface__: 'data'"):
        ops.layer_norm_modulate(**given)


def test_where_the_pointer_lies_counts_not_what_is_said(ops, emulated, inputs):
    given = interfaces(inputs)
    emulated.host_pointer(given["scale"].__cuda_array_interface__["data"][0])
    with pytest.raises(InputError, match="`scale` lies in the memory of the CPU; pass an array on the GPU"):
        ops.layer_norm_modulate(**given)
    emulated.host_pointer(0)
    emulated.device(1)
    with pytest.raises(InputError, match="lies on GPU 0, but GPU 1 is the current one; make the array's device"):
        ops.layer_norm_modulate(**given)
    emulated.device(0)
    assert ops.layer_norm_modulate(**given) is None


def test_both_protocols_in_one_call(ops, arrays, inputs):
    given = interfaces(inputs) | {"out": Producer(arrays["out"]), "scale": Producer(arrays["scale"])}
    ops.layer_norm_modulate(**given)
    check(arrays, inputs)
    np.testing.assert_array_equal(given["x"].get(), inputs["x"])
