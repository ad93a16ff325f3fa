"""Products of the fused DiT: plain, and in float8 with a scale for each row and each column."""

from __future__ import annotations

import torch
import torch.nn.functional as F

E4M3_LARGEST = 448.0


class Linear:
    """x [..., in] -> [..., out] in the type of the weights."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        self.weight, self.bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)


def to_e4m3(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of x [rows, columns] as e4m3 and their scales [rows, 1] float32: the largest of a row becomes 448."""
    largest = x.abs().amax(dim=-1, keepdim=True).float()
    scale = torch.where(largest > 0, largest / E4M3_LARGEST, torch.ones_like(largest))
    scaled = (x.float() / scale).clamp(-E4M3_LARGEST, E4M3_LARGEST)
    return scaled.to(torch.float8_e4m3fn), scale


def scaled_product(
    a: torch.Tensor, a_scale: torch.Tensor, b: torch.Tensor, b_scale: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """a [m, k] times b [n, k] transposed, both e4m3, times their scales [m, 1] and [n, 1]; sums are float32."""
    if a.is_cuda:
        return torch._scaled_mm(a, b.t(), scale_a=a_scale, scale_b=b_scale.t(), out_dtype=dtype)
    return ((a.float() @ b.float().t()) * a_scale * b_scale.t()).to(dtype)


class Fp8Linear:
    """`Linear` with weights quantised once, a scale for each output channel, and inputs quantised row by row.

    The bias is added in the result's type, as a product in float8 has no place for it everywhere."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None):
        self.bias, self.dtype = bias, weight.dtype
        self.weight, self.scale = to_e4m3(weight)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        rows, scale = to_e4m3(x.flatten(0, -2))
        result = scaled_product(rows, scale, self.weight, self.scale, self.dtype)
        if self.bias is not None:
            result += self.bias
        return result.unflatten(0, x.shape[:-1])


def fits_fp8(weight: torch.Tensor) -> bool:
    """Whether the tensor cores' 8-bit product takes this shape: both sides are multiples of 16."""
    return weight.shape[0] % 16 == 0 and weight.shape[1] % 16 == 0
