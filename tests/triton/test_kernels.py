"""Every Triton kernel in the interpreter against the oracle of its op: odd sizes, masks, specials, repetition."""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from spar_engine.oracle import bounds
from spar_engine.oracle.check import MismatchError, check

torch = pytest.importorskip("torch", reason="the kernels take torch tensors; pip install 'spar-engine[export]'")
pytest.importorskip("triton", reason="Triton is not installed; pip install --no-deps triton==3.8.0 (273 MiB)")
numpy_errors = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter, on NaN and infinity

from spar_bench.gpu_check.ops import OPS, ORACLES, Calls, checked, examples, oracle  # noqa: E402
from spar_engine.modules.fused.linear import Linear  # noqa: E402
from spar_engine.modules.fused.table import TorchOps  # noqa: E402
from spar_engine.modules.fused.triton import TritonOps  # noqa: E402
from spar_engine.ops.triton.run import Jit  # noqa: E402


def runs(half=torch.float32):
    return Calls(TritonOps(Jit(), half=half, wide=True), half=half)


def cases(op):
    """Examples by name, but for the largest pictures: the interpreter takes a second for each tap of theirs."""
    slow = ("one-tile", "partial-tiles") if op == "glumbconv_core" else ()
    return {name: inputs for name, inputs in examples(op) if name not in slow}


@numpy_errors
@pytest.mark.parametrize(("op", "name"), [(op, name) for op in OPS for name in cases(op)])
def test_against_the_oracle(op, name):
    inputs = cases(op)[name]
    with np.errstate(all="ignore"):
        checked(op, runs()(op, inputs), inputs)


@pytest.mark.parametrize("op", OPS)
def test_the_same_bits_again(op):
    chosen = {"relu_linear_attention": "long", "glumbconv_core": "one-pixel", "clamp_resize_uint8": "enlarge",
              "dynamic_token_routing": "odd-sizes"}  # fmt: skip
    inputs = cases(op)[chosen.get(op, next(iter(cases(op))))]
    first, second = runs()(op, inputs), runs()(op, inputs)
    assert all(np.array_equal(a.view(np.uint8), b.view(np.uint8)) for a, b in zip(first, second, strict=True))


HALVED = {"relu_linear_attention": "odd-sizes", "cross_attention": "head-72", "layer_norm_modulate": "odd-eights",
          "glumbconv_core": "small-picture"}  # fmt: skip


@pytest.mark.parametrize(("op", "name"), HALVED.items())
def test_bf16_in_and_out(op, name):
    """The interpreter cuts bits off where a GPU rounds, so two roundings are allowed to the result."""
    calls = runs(torch.bfloat16)
    (got,) = calls(op, cases(op)[name])
    inputs = calls.rounded(op, cases(op)[name])
    want = getattr(oracle(op), op)(**inputs)
    allowed = bounds.rounded(bounds.Bounded(want, oracle(op).bound(inputs)), "bf16")
    check(got, want, bounds.rounded(allowed, "bf16").error, op, dtype="bf16")


def test_strides_that_do_not_fit_are_refused():
    from spar_engine.errors import InputError

    query, key, value = (torch.zeros(1, 2, 5, 16) for _ in range(3))
    with pytest.raises(InputError, match="relu_linear_attention: `query` has shape"):
        runs().ops.relu_linear_attention(query, key.transpose(1, 2).contiguous().transpose(1, 2), value)
    turned = query.transpose(2, 3).contiguous().transpose(2, 3)
    with pytest.raises(InputError, match="its entries must be neighbours"):
        runs().ops.relu_linear_attention(turned, turned, turned)


def projected(ops, kind):
    """Both operators with a product inside, on odd sizes with padded prompts: (attended, gated)."""
    rng = torch.Generator().manual_seed(4)

    def made(*shape):
        return torch.randn(shape, generator=rng).to(kind)  # drawn in float32, whatever the kind

    x, keys, values = made(2, 37, 40), made(2, 3, 70, 24), made(2, 3, 70, 24)
    lengths = torch.tensor([70, 13], dtype=torch.int32)
    query, out = Linear(made(72, 40) / 6, made(72)), Linear(made(40, 72) / 8, made(40))
    gate = made(2, 5, 40)[:, 3]
    attended = ops.project_cross_attention(x, query, 3, keys, values, lengths)
    return attended, ops.project_gate_residual(x, made(2, 37, 72), out, gate)


def worst(got, want):
    return [float((a.double() - b).abs().max()) for a, b in zip(got, want, strict=True)]


def projected_errors():
    """Of the kernels and of plain torch, against float64."""
    want = projected(TorchOps(torch.float64), torch.float64)
    return worst(projected(runs().ops, torch.float32), want), worst(
        projected(TorchOps(torch.float32), torch.float32), want
    )


def test_products_inside_an_operator():
    """At most twice the error of plain torch in float32, and a unit of the largest value, which is below 16."""
    ours, plain = projected_errors()
    assert all(mine <= 2 * theirs + 2.0**-20 for mine, theirs in zip(ours, plain, strict=True))


# What is broken, and the example that must show it: a tail, a swapped head, a missing rescale, a wrong tap ...
BROKEN = [
    ("relu_linear_attention", "t < tokens)", "t < tokens - 1)", "odd-sizes"),
    ("relu_linear_attention", "head * HEAD\n", "(HEADS - 1 - head) * HEAD\n", "odd-sizes"),
    ("relu_linear_attention", "in range(chunks)", "in range(chunks - 1)", "long"),
    ("relu_linear_attention", "q = _relu(q)", "q = q", "usual"),
    ("cross_attention", "(n < length)[None, :]", "(n < length - 1)[None, :]", "head-72"),
    ("cross_attention", "mixed = mixed * shrink[:, None]", "mixed = mixed", "rising"),
    ("cross_attention", "head.to(tl.int64) * keys_head_stride", "0", "head-72"),
    ("layer_norm_modulate", "tl.where(live, values - tl.sum(values, 0) / WIDTH, 0.0)",
     "values - tl.sum(values, 0) / WIDTH", "odd-eights"),
    ("layer_norm_modulate", "(row // tokens) * shift_stride", "0", "odd-eights"),
    ("gate_residual", "(row // tokens) * gate_stride", "0", "odd-eights"),
    ("gate_residual", "+ EPS)", ")", "cancelled"),
    ("layer_norm_quantize", "out_scales + row", "out_scales", "odd-eights"),
    ("gate_residual_quantize", "normed_scales + row", "normed_scales", "odd-eights"),
    ("quantize_rows", "size + 0x7FFFF", "size", "usual"),
    ("quantize_rows", "+ 16384.0)", "+ 32768.0)", "outlier"),
    ("quantize_rows", "div_rn(largest, 448.0)", "div_rn(largest, 256.0)", "usual"),
    ("quantize_rows", "tl.maximum(tl.max(tl.abs(x), 0), 7.888609052210118e-31)", "tl.max(tl.abs(x), 0)", "zeros"),
    ("glumbconv_core", "tap // 3 - 1, tap % 3 - 1", "tap % 3 - 1, tap // 3 - 1", "small-picture"),
    ("glumbconv_core", "value * _silu(gate)", "gate * _silu(value)", "small-picture"),
    ("guide_and_step", "conditional - guided", "guided - conditional", "usual"),
    ("guide_and_step", "if c != 0:", "if c == c:", "first-order"),
    ("clamp_resize_uint8", "tl.floor(value + 0.5)", "tl.floor(value)", "shrink"),
    ("clamp_resize_uint8", "* column_share", "* row_share", "wide"),
    ("dynamic_token_routing", "in range(blocks)", "in range(blocks - 1)", "blocks"),
    ("dynamic_token_routing", "level_stride.to(tl.int64)", "0", "usual"),
    ("dynamic_token_routing", "tl.max(logits, 0)", "0.0", "cold"),
]  # fmt: skip


def break_source(op, right, wrong, tmp_path, monkeypatch):
    op = ORACLES.get(op, op)
    original = importlib.import_module(f"spar_engine.ops.triton.{op}")
    text = Path(original.__file__).read_text("utf-8")
    assert right in text, f"the copy of {op} cannot be broken: its source no longer has {right!r}"
    copy = tmp_path / f"broken_{op}.py"
    copy.write_text(text.replace(right, wrong), "utf-8")
    place = spec_from_file_location(original.__name__, copy)
    broken = module_from_spec(place)
    place.loader.exec_module(broken)
    monkeypatch.setitem(sys.modules, original.__name__, broken)


@pytest.mark.parametrize(
    ("op", "right", "wrong"),
    [
        ("cross_attention", "columns = (head * HEAD_DIM + d)", "columns = ((HEADS - 1 - head) * HEAD_DIM + d)"),
        ("cross_attention", "q += tl.load(bias + head * HEAD_DIM + d", "q += 0 * tl.load(bias + head * HEAD_DIM + d"),
        ("gate_residual", "(t // tokens)[:, None] * gate_stride", "0 * t[:, None]"),
        ("gate_residual", "range(0, INNER, BLOCK_K)", "range(0, INNER - BLOCK_K, BLOCK_K)"),
    ],
)
def test_a_broken_product_is_caught(op, right, wrong, tmp_path, monkeypatch):
    break_source(op, right, wrong, tmp_path, monkeypatch)
    ours, plain = projected_errors()
    assert any(mine > 100 * theirs for mine, theirs in zip(ours, plain, strict=True))


@numpy_errors
@pytest.mark.parametrize(("op", "right", "wrong", "example"), BROKEN, ids=lambda value: str(value)[:24])
def test_a_broken_copy_is_caught(op, right, wrong, example, tmp_path, monkeypatch):
    break_source(op, right, wrong, tmp_path, monkeypatch)
    inputs = cases(op)[example]
    with np.errstate(all="ignore"):
        results = runs()(op, inputs)
        with pytest.raises(MismatchError):
            checked(op, results, inputs)
