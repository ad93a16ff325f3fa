"""Products of the fused DiT: plain, and in float8 with a scale for each row and each column."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

E4M3_LARGEST = 448.0
LEAST_ROW = 2.0**-100  # what a row of zeros counts as


class Quantized(NamedTuple):
    """Rows in e4m3, and what each is to be multiplied with."""

    values: torch.Tensor  # [..., width] float8_e4m3fn
    scales: torch.Tensor  # [..., 1] float32


class Linear:
    """x [..., in] -> [..., out] in the type of the weights."""

    eight = False  # whether it takes `Quantized` rows

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        self.weight, self.bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


def to_e4m3(x: torch.Tensor) -> Quantized:
    """Rows of x [..., width]: the largest of each, NaN not counted, becomes 448; see oracle/quantize_rows.py."""
    wide = x.float()
    size = wide.abs()
    largest = torch.where(size.isnan(), 0.0, size).amax(dim=-1, keepdim=True).clamp(min=LEAST_ROW)
    scaled = (wide * (E4M3_LARGEST / largest)).clamp(-E4M3_LARGEST, E4M3_LARGEST)
    return Quantized(scaled.to(torch.float8_e4m3fn), largest / E4M3_LARGEST)


def scaled_product(a: Quantized, b: Quantized, bias: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """a [m, k] times b [n, k] transposed, with their scales, plus bias [n]; sums are float32, the result is `dtype`."""
    if a.values.is_cuda:
        return torch._scaled_mm(a.values, b.values.t(), scale_a=a.scales, scale_b=b.scales.t(), bias=bias,
                                out_dtype=dtype)  # fmt: skip
    product = (a.values.float() @ b.values.float().t()) * a.scales * b.scales.t()
    return (product if bias is None else product + bias).to(dtype)


class Fp8Linear:
    """`Linear` with weights quantised once, a scale for each output channel, and inputs quantised row by row.

    ops  whose `quantize_rows` quantises inputs that no operator before has
    """

    eight = True

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, ops: Any):
        self.bias, self.dtype, self.ops = bias, weight.dtype, ops
        self.weight = to_e4m3(weight)

    def __call__(self, x: torch.Tensor | Quantized) -> torch.Tensor:
        values, scales = x if isinstance(x, Quantized) else self.ops.quantize_rows(x)
        rows = Quantized(values.flatten(0, -2), scales.flatten(0, -2))
        return scaled_product(rows, self.weight, self.bias, self.dtype).unflatten(0, values.shape[:-1])


def fits_fp8(weight: torch.Tensor) -> bool:
    """Whether the tensor cores' 8-bit product takes this shape: both sides are multiples of 16."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % 16 == 0
