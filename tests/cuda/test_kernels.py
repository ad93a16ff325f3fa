"""Every CUDA op on the CPU against its equation, and against itself with its threads in another order."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.errors import BackendError
from spar_engine.image.postprocess import pictures
from spar_engine.oracle import (
    cross_attention,
    glumbconv_core,
    guide_and_step,
    layer_norm_modulate,
    quantize_rows,
    relu_linear_attention,
)
from spar_engine.oracle.check import MismatchError
from spar_engine.samplers.guidance import guide
from spar_engine.samplers.schedule import Schedule
from spar_engine.samplers.solver import advance
from spar_engine.weights.dtypes import to_f32

from .devices import OnDevice, as_bf16, bits, eights, empty, scratch, wide
from .runners import OPS, examples, run_gate, run_linear_attention, run_norm, run_quantize, run_resize, run_step

CASES = [(op, name) for op in OPS for name, _ in examples(op)]


@pytest.fixture(autouse=True)
def in_order(emulated):
    yield
    emulated.order(0)
    emulated.shared_limit(0)
    emulated.clusters(8)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.mark.parametrize(("op", "name"), CASES)
def test_equation_and_order_of_threads(emulated, op, name):
    """A value that is read before it was written, or after it was overwritten, depends on the order."""
    run, inputs = OPS[op][0], dict(examples(op))[name]
    first = run(emulated.ops, inputs)
    for order in (1, 20260):
        emulated.order(order)
        for one, other in zip(first, run(emulated.ops, inputs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("op", "run"), [("layer_norm_modulate", run_norm), ("gate_residual", run_gate), ("guide_and_step", run_step),
                    ("clamp_resize_uint8", run_resize), ("quantize_rows", run_quantize)]
)  # fmt: skip
def test_the_other_type(emulated, op, run):
    """float32 rows where the others are bf16, bf16 velocities and pictures where the others are float32."""
    other = {"bf16": op in ("guide_and_step", "clamp_resize_uint8")}
    for _, inputs in examples(op):
        run(emulated.ops, inputs, **other)


def test_the_residual_alone(emulated):
    for _, inputs in examples("gate_residual"):
        run_gate(emulated.ops, inputs, norm=False)


def test_the_fused_norm_is_the_norm(emulated, rng):
    inputs = OPS["gate_residual"][1].random_inputs(rng, 2, 5, 264)
    out, normed, *eight = run_gate(emulated.ops, inputs, bf16=False)
    vectors = {name: inputs[name] for name in ("shift", "scale")}
    for one, other in zip(run_norm(emulated.ops, {"x": out, **vectors}, bf16=False), (normed, *eight), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_row_of_modulation_serves_all_entries(emulated, rng):
    inputs = layer_norm_modulate.random_inputs(rng, 3, 4, 64)
    x, out = OnDevice(inputs["x"]), empty((3, 4, 64), "uint16")
    one = {name: OnDevice(inputs[name][:1]) for name in ("shift", "scale")}
    for array in one.values():
        array.__cuda_array_interface__ |= {"shape": (3, 64), "strides": (0, 4)}
    emulated.ops.layer_norm_modulate(x=x, **one, out=out)
    for name in one:
        inputs[name] = np.repeat(inputs[name][:1], 3, axis=0)
    layer_norm_modulate.check_result(wide(out), inputs, "bf16")


@pytest.mark.parametrize("head_dim", [16, 32])
@pytest.mark.parametrize(("tokens", "spans"), [(256, 1), (257, 2), (900, 4), (2048, 8), (2049, 9)])
def test_linear_attention_splits_long_sequences(emulated, rng, tokens, spans, head_dim):
    """Into clusters where they hold so many blocks, else into two launches, with the same bits."""
    inputs, results = relu_linear_attention.random_inputs(rng, 1, 2, tokens, head_dim), []
    for cluster in (8, 3, 1):
        emulated.clusters(cluster)
        for order in (0, 1, 20260) if cluster == 8 else (0,):
            emulated.order(order)
            before = emulated.launches()
            results.append(run_linear_attention(emulated.ops, inputs))
            assert emulated.launches() - before == (1 if spans <= max(cluster, 1) else 2)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


def test_spans_of_long_sequences_follow_from_the_shape(emulated):
    """Blocks for a GPU of some hundred at the models' heads, and never less memory for a larger shape."""
    workspace, state = emulated.ops.relu_linear_attention_workspace, 33 * 40 * 4

    def spans(heads, tokens, batch=1):
        return workspace(batch=batch, heads=heads, tokens=tokens, head_dim=32) // state

    assert [spans(36, tokens) for tokens in (256, 1024, 4096, 1 << 20)] == [0, 36 * 4, 288 + 36, 288 + 36]
    assert [spans(1, tokens) for tokens in (257, 4096, 1 << 20)] == [2, 16, 16]
    for axis in ("batch", "heads", "tokens"):
        found = [spans(**{"batch": 2, "heads": 36, "tokens": 2000} | {axis: size}) for size in range(1, 3000, 7)]
        assert found == sorted(found)


def test_many_heads_take_one_launch_of_any_length(emulated, rng):
    inputs = relu_linear_attention.random_inputs(rng, 2, 144, 300, 16)
    before = emulated.launches()
    run_linear_attention(emulated.ops, inputs)
    assert emulated.launches() - before == 1


def test_every_number_becomes_its_nearest_e4m3(emulated):
    """All bf16 numbers up to 448, in rows whose scale is 1, bit by bit."""
    every = np.arange(0x10000, dtype=np.uint16)
    numbers = to_f32(every, "BF16")
    numbers = np.concatenate((numbers[np.abs(numbers) <= 448], np.zeros(7, np.float32)))
    rows = numbers[: len(numbers) // 7 * 7].reshape(-1, 7)
    x = np.concatenate((rows, np.full((len(rows), 1), 448, np.float32)), axis=1)
    values, scales = run_quantize(emulated.ops, {"x": x})
    assert (scales == 1).all()
    np.testing.assert_array_equal(eights(values), quantize_rows.nearest(x))


def test_routing_takes_two_launches_at_a_models_width(emulated, rng):
    run, oracle = OPS["dynamic_token_routing"]
    before = emulated.launches()
    emulated.shared_limit(65_792)
    run(emulated.ops, oracle.random_inputs(rng, 4, 17, 896))
    assert emulated.launches() - before == 2
    emulated.shared_limit(86_272)
    run(emulated.ops, oracle.random_inputs(rng, 4, 1, 1536))
    with pytest.raises(BackendError, match="bytes of shared memory"):
        run(emulated.ops, oracle.random_inputs(rng, 1, 1, 1600))


SHARED = {  # bytes of a block at the models' sizes; 101_376 is what sm_89 and sm_120 have
    "head-72": ("cross_attention", lambda rng: cross_attention.random_inputs(rng, 1, 1, 1, 1, 72), 56_320),
    "head-112": ("cross_attention", lambda rng: cross_attention.random_inputs(rng, 1, 1, 1, 1, 112), 76_800),
    "linear": ("relu_linear_attention", lambda rng: relu_linear_attention.random_inputs(rng, 1, 1, 1, 32), 72_320),
    "core": ("glumbconv_core", lambda rng: glumbconv_core.random_inputs(rng, 1, 1, 1, 8), 41_472),
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_memory_is_what_the_kernels_page_says(emulated, rng, name):
    op, make, size = SHARED[name]
    emulated.shared_limit(size)
    OPS[op][0](emulated.ops, make(rng))
    emulated.shared_limit(size - 1)
    with pytest.raises(BackendError, match=f"asks for {size} bytes of shared memory"):
        OPS[op][0](emulated.ops, make(rng))


@pytest.mark.parametrize("head_dim", range(8, 129, 8))
def test_cross_attention_of_every_head_size(emulated, rng, head_dim):
    emulated.shared_limit(99 * 1024)
    OPS["cross_attention"][0](emulated.ops, cross_attention.random_inputs(rng, 1, 1, 3, 70, head_dim, [67]))


def test_a_part_of_the_keys_is_as_good_as_no_others(emulated, rng):
    """Exact buckets: what lies behind `lengths` changes no bit."""
    inputs = cross_attention.random_inputs(rng, 1, 2, 9, 100, 72, [41])
    run = OPS["cross_attention"][0]
    (masked,) = run(emulated.ops, inputs)
    cut = {"query": inputs["query"], "keys": inputs["keys"][:, :, :41], "values": inputs["values"][:, :, :41]}
    np.testing.assert_array_equal(run(emulated.ops, cut)[0], masked)


def test_linear_attention_of_one_projection(emulated, rng):
    """query, key and value as thirds of one [batch, tokens, 3 * heads * head_dim] array, as the product leaves them."""
    batch, heads, tokens, dim = 2, 3, 40, 32
    rows = as_bf16(rng.standard_normal((batch, tokens, 3, heads, dim)).astype(np.float32))
    whole = bits(rows)
    _, per_token, per_third, per_head, _ = whole.__cuda_array_interface__["strides"]
    start = whole.__cuda_array_interface__["data"][0]
    parts = {}
    for index, name in enumerate(("query", "key", "value")):
        parts[name] = bits(np.zeros((batch, heads, tokens, dim), np.float32))
        parts[name].__cuda_array_interface__ |= {
            "strides": (tokens * per_token, per_head, per_token, 2), "data": (start + index * per_third, True),
        }  # fmt: skip
    out = empty((batch, heads, tokens, dim), "uint16", (0, 2, 1, 3))
    emulated.ops.relu_linear_attention(**parts, out=out)
    inputs = {name: rows[:, :, index].transpose(0, 2, 1, 3) for index, name in enumerate(parts)}
    relu_linear_attention.check_result(wide(out), inputs, "bf16")


def test_the_step_is_that_of_the_samplers(emulated, rng):
    """The same bits as numpy gives: the same roundings in the same order."""
    inputs = guide_and_step.random_inputs(rng, 2, 1, 300)
    inputs["guidance"][:] = 4.5
    out, data, _ = run_step(emulated.ops, inputs)
    table = inputs["table"]
    plan = Schedule(table[:, 0], np.zeros(len(table)), *table[:, 1:].T)
    velocity = guide(inputs["velocity"].reshape(2, -1), 4.5)
    want = advance(plan, inputs["step"], inputs["latent"], velocity, inputs["data"])
    np.testing.assert_array_equal(out, want[0])
    np.testing.assert_array_equal(data, want[1])


def test_the_step_may_overwrite_its_latent(emulated, rng):
    inputs = guide_and_step.random_inputs(rng, 2, 2, 70)
    out, _, _ = run_step(emulated.ops, inputs)
    given = {name: OnDevice(inputs[name]) for name in ("velocity", "guidance", "table")}
    state = {name: OnDevice(inputs[name]) for name in ("latent", "data")}
    for array in state.values():
        array.may_change()
    emulated.ops.guide_and_step(**given, **state, step=1, out=state["latent"])
    np.testing.assert_array_equal(state["latent"].get(), out)


def test_pictures_are_those_of_the_engine(emulated, rng):
    image = rng.uniform(-1.2, 1.2, (1, 3, 64, 48)).astype(np.float32)
    (got,) = run_resize(emulated.ops, {"image": image, "height": 56, "width": 42})
    # A sample that lies within rounding of two bytes may become either.
    assert (got != pictures(image)).mean() < 1e-3


def test_a_tile_of_the_models_width(emulated, rng):
    inputs = glumbconv_core.random_inputs(rng, 1, 16, 16, 96)
    (first,) = OPS["glumbconv_core"][0](emulated.ops, inputs)
    inputs["x"][0, 7, 7, 5] += 1
    (second,) = OPS["glumbconv_core"][0](emulated.ops, inputs)
    moved = np.argwhere((first != second).any(0).any(0).any(0)).ravel()
    np.testing.assert_array_equal(moved, [5])  # a channel depends on itself and its gate only
    with pytest.raises(MismatchError):
        glumbconv_core.check_result(np.zeros(first.shape), inputs, "bf16")


def test_workspace_is_not_read_before_it_is_written(emulated, rng):
    inputs = relu_linear_attention.random_inputs(rng, 1, 1, 300, 16)
    size = emulated.ops.relu_linear_attention_workspace(batch=1, heads=1, tokens=300, head_dim=16)
    assert size > 0
    found = []
    for fill in (0, 255):
        given = {name: bits(as_bf16(inputs[name])) for name in ("query", "key", "value")}
        work, out = scratch(size), empty((1, 1, 300, 16), "uint16")
        work.fill(fill)
        emulated.ops.relu_linear_attention(**given, out=out, workspace=work)
        found.append(out.get())
    np.testing.assert_array_equal(*found)
