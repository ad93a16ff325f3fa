"""What the binding of the CUDA ops refuses, and how it says so."""

from __future__ import annotations

import numpy as np
import pytest
from spar_engine.errors import BackendError, InputError
from spar_engine.oracle import cross_attention, gate_residual, guide_and_step, layer_norm_modulate

from .devices import OnDevice, bits, empty, scratch


@pytest.fixture
def ops(emulated):
    yield emulated.ops
    emulated.shared_limit(0)


@pytest.fixture
def norm():
    """Keywords of a valid layer_norm_modulate."""
    inputs = layer_norm_modulate.random_inputs(np.random.default_rng(1), 2, 3, 16)
    return {name: OnDevice(value) for name, value in inputs.items()} | {"out": empty((2, 3, 16), "uint16")}


def attention(tokens=3, head_dim=32, keys=5):
    inputs = cross_attention.random_inputs(np.random.default_rng(1), 1, 2, tokens, keys, head_dim)
    given = {name: bits(inputs[name]) for name in ("query", "keys", "values")}
    return given | {"out": empty((1, 2, tokens, head_dim), "uint16")}


def moved(array: OnDevice, **interface) -> OnDevice:
    array.__cuda_array_interface__ |= interface
    return array


def test_a_valid_call(ops, norm):
    assert ops.layer_norm_modulate(**norm, eps=1e-5, stream=0) is None


def test_missing_unknown_and_unused_arguments(ops, norm):
    with pytest.raises(InputError, match="`shift` is missing; pass an array on the GPU"):
        ops.layer_norm_modulate(**{**norm, "shift": None})
    with pytest.raises(InputError, match="`gate` is unknown, or not used in this combination"):
        ops.layer_norm_modulate(**norm, gate=norm["shift"])
    with pytest.raises(InputError, match="`epsilon` is unknown"):
        ops.layer_norm_modulate(**norm, epsilon=1e-5)
    inputs = gate_residual.random_inputs(np.random.default_rng(1), 1, 2, 8)
    given = {name: OnDevice(inputs[name]) for name in ("x", "scale")} | {"y": bits(inputs["y"])}
    with pytest.raises(InputError, match="`scale` is unknown, or not used in this combination"):
        ops.gate_residual(**given, out=empty((1, 2, 8), "float32"))  # without `normed` there is no norm


def test_what_is_no_array(ops, norm):
    with pytest.raises(InputError, match="`x` is a list; pass an array on the GPU"):
        ops.layer_norm_modulate(**{**norm, "x": [0.5]})
    with pytest.raises(InputError, match="`x` has elements of type <f2"):
        ops.layer_norm_modulate(**{**norm, "x": moved(norm["x"], typestr="<f2")})


def test_shapes_and_types(ops, norm):
    with pytest.raises(InputError, match=r"`out` has width=8, but `x` set width=16"):
        ops.layer_norm_modulate(**{**norm, "out": empty((2, 3, 8), "uint16")})
    with pytest.raises(InputError, match="`out` is float32, expected bf16"):
        ops.layer_norm_modulate(**{**norm, "out": empty((2, 3, 16), "float32")})
    with pytest.raises(InputError, match="`out` is read-only"):
        ops.layer_norm_modulate(**{**norm, "out": bits(np.zeros((2, 3, 16), np.float32))})


@pytest.mark.parametrize(("width", "words"), [(12, "not a multiple of 8"), (4104, "at most 4096")])
def test_widths(ops, width, words):
    inputs = layer_norm_modulate.random_inputs(np.random.default_rng(1), 1, 1, width)
    with pytest.raises(InputError, match=f"width={width}.*{words}"):
        ops.layer_norm_modulate(**{name: OnDevice(x) for name, x in inputs.items()}, out=empty((1, 1, width), "uint16"))


def test_strides_and_addresses(ops, norm):
    with pytest.raises(InputError, match="`x` is not contiguous"):
        ops.layer_norm_modulate(**{**norm, "x": OnDevice(np.zeros((2, 3, 16), np.float32), (1, 0, 2))})
    with pytest.raises(InputError, match=r"`shift` .* rows lie no multiple of 16 bytes apart"):
        ops.layer_norm_modulate(**{**norm, "shift": moved(OnDevice(np.zeros((2, 16), np.float32)), strides=(68, 4))})
    given = attention()
    start = given["query"].__cuda_array_interface__["data"][0]
    with pytest.raises(InputError, match="`query` starts at an address that is no multiple of 16"):
        ops.cross_attention(**{**given, "query": moved(given["query"], data=(start + 2, True))})
    with pytest.raises(InputError, match="`query` has a stride of 65 bytes"):
        ops.cross_attention(**{**given, "query": moved(given["query"], data=(start, True), strides=(192, 96, 65, 2))})


def test_heads(ops):
    with pytest.raises(InputError, match="head_dim=136; at most 128"):
        ops.cross_attention(**attention(head_dim=136))
    with pytest.raises(InputError, match=r"scale=-1\.0"):
        ops.cross_attention(**attention(), scale=-1)
    given = {name: empty((1, 1, 4, 64), "uint16") for name in ("query", "key", "value", "out")}
    with pytest.raises(InputError, match="head_dim=64; this kernel has 16 and 32"):
        ops.relu_linear_attention(**given)


def test_workspace(ops):
    given = {name: empty((1, 1, 300, 32), "uint16") for name in ("query", "key", "value", "out")}
    need = ops.relu_linear_attention_workspace(batch=1, heads=1, tokens=300, head_dim=32)
    with pytest.raises(InputError, match=f"`workspace` is missing; pass an array of {need} bytes"):
        ops.relu_linear_attention(**given)
    with pytest.raises(InputError, match=f"`workspace` has 16 bytes, but {need} are needed"):
        ops.relu_linear_attention(**given, workspace=scratch(16))


def test_steps_and_branches(ops):
    inputs = guide_and_step.random_inputs(np.random.default_rng(1), 2, 1, 8)
    given = {name: OnDevice(inputs[name]) for name in ("velocity", "table", "latent", "data", "guidance")}
    given["data"].may_change()
    given["out"] = empty((1, 8), "float32")
    for step in (2, -1, 0.5):
        with pytest.raises(InputError, match="is no row of `table`, which has steps=2"):
            ops.guide_and_step(**given, step=step)
    with pytest.raises(InputError, match="`guidance` is missing"):
        ops.guide_and_step(**{**given, "guidance": None}, step=1)
    with pytest.raises(InputError, match="branches=3; it must be 1 or 2"):
        ops.guide_and_step(**{**given, "velocity": OnDevice(np.zeros((3, 1, 8), np.float32))}, step=1)


def test_a_launch_that_is_refused(ops, emulated):
    emulated.shared_limit(16 * 1024)
    with pytest.raises(BackendError, match=r"cross_attention: a block asks for .* bytes of shared memory"):
        ops.cross_attention(**attention())
