"""Kernels of the native backend made ready for timing: what they refuse, and whose memory their buffers are."""

import numpy as np
import pytest
from spar_bench.kernels.case import Shape, Work, case
from spar_bench.kernels.subjects import NativeKernel
from spar_engine import _native
from spar_engine.errors import BackendError, InputError

SMALL = {
    "relu_linear_attention": (2, 3, 50, 32),
    "dynamic_token_routing": (3, 50, 96),
    "packed_product": (37, 96, 136, 0),
    "convolution": (1, 7, 9, 16, 40),
    "rms_norm": (19, 256),
    "layer_norm_modulate": (2, 19, 256),
    "attention": (70, 4, 2, 16, 1),
    "cross_attention": (2, 3, 3, 21, 50, 24),
    "depthwise_glu": (2, 6, 7, 24),
}


@pytest.mark.parametrize("op", sorted(_native.prepared_ops()))
def test_bits_of_native_kernels_do_not_depend_on_threads(op):
    work = Work(case(op), Shape("test", SMALL[op]), "bf16")
    found = []
    for threads in (1, 3):
        subject = NativeKernel(work, work.case.isas()[0], threads, (0, 1))
        subject.fill(0, 0)
        subject.run(0)
        found.append(subject.outputs(0)["out"])
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("op", sorted(_native.prepared_ops()))
def test_nudges_reach_live_buffers_whose_rows_are_padded(op):
    work = Work(case(op), Shape("test", SMALL[op]), "f32")
    subject = NativeKernel(work, "", 1, (0, 1))
    subject.fill(0, 0, nudge=5)
    for name, live in subject.inputs[0].items():
        assert (live != subject.base[0][name]).sum() == 1
        assert live.base is not None


RMS = {"op": "rms_norm", "sizes": {"rows": 4, "width": 8}, "weights": {"weight": np.ones(8, np.float32)}}
PRODUCT = {"op": "packed_product", "sizes": {"rows": 2, "columns": 48, "depth": 8, "act": 2},
           "weights": {"weight": np.ones((48, 8), np.float32), "bias": np.ones(48, np.float32)}}  # fmt: skip
ATTENTION = {"op": "attention", "sizes": {"tokens": 4, "heads": 3, "kv_heads": 2, "head_dim": 8, "causal": 0},
             "weights": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (RMS | {"op": "softmax"}, "none of the prepared ops, which are attention, "),
        (RMS | {"sizes": {"rows": 4}}, "size `width` is missing"),
        (RMS | {"sizes": {"rows": 0, "width": 8}}, "rows=0; it must be at least 1"),
        (RMS | {"weights": {}}, "weight `weight` is missing"),
        (RMS | {"weights": {"weight": np.ones(9, np.float32)}}, r"weight `weight` has another shape than \[8\]"),
        (RMS | {"dtype": "f16"}, "dtype='f16' is unknown"),
        (RMS | {"dtype": "int8"}, "no weights to quantise"),
        (RMS | {"slots": 0}, "slots=0"),
        (RMS | {"threads": 0}, "threads=0"),
        (PRODUCT, "columns=48; with act=2 it must be a multiple of 32"),
        (PRODUCT | {"sizes": PRODUCT["sizes"] | {"act": 3}}, "act=3; it must be 0"),
        (ATTENTION, "heads=3 is not a multiple of kv_heads=2"),
        (ATTENTION | {"sizes": ATTENTION["sizes"] | {"heads": 4, "causal": 2}}, "causal=2; it must be 0 or 1"),
    ],
)
def test_what_cannot_be_prepared_says_why(given, says):
    given = {"dtype": "f32"} | given
    with pytest.raises(InputError, match=says):
        _native.Prepared(given.pop("op"), **given)


def test_an_unknown_table_of_kernels_is_named():
    with pytest.raises(BackendError, match="isa='sse9'"):
        _native.Prepared(RMS["op"], sizes=RMS["sizes"], weights=RMS["weights"], dtype="f32", isa="sse9")


def test_live_arrays_outlive_what_made_them():
    made = _native.Prepared(RMS["op"], sizes=RMS["sizes"], weights=RMS["weights"], dtype="f32")
    x, out = made.inputs(0)["x"], made.out(0)
    with pytest.raises(InputError, match="slot=1; it must be from 0 to 0"):
        made.run(1)
    x[:] = 2
    made.run(0)
    del made
    np.testing.assert_allclose(out, 1, rtol=1e-6)
    assert (x == 2).all()
