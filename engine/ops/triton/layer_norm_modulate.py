"""LayerNorm without weights, then scale and shift of the step (spec 4.5)."""

from __future__ import annotations

import triton
import triton.language as tl

from .quantize_rows import store_e4m3


@triton.jit
def layer_norm_modulate(
    x, shift, scale, out, out_scales, tokens, shift_stride,
    WIDTH: tl.constexpr, BLOCK_W: tl.constexpr, EPS: tl.constexpr, EIGHT: tl.constexpr,
):  # fmt: skip
    """One program a token: (x - mean) / sqrt(variance + eps) * (1 + scale) + shift, the variance of centred values.

    x, out        [batch * tokens, WIDTH]
    shift, scale  [batch, WIDTH], rows shift_stride apart; 0 where all share one
    out_scales    [batch * tokens]; with EIGHT `out` is e4m3 with these scales
    """
    row = tl.program_id(0)
    c = tl.arange(0, BLOCK_W)
    live = c < WIDTH
    place = row.to(tl.int64) * WIDTH + c
    values = tl.load(x + place, mask=live, other=0.0).to(tl.float32)
    centred = tl.where(live, values - tl.sum(values, 0) / WIDTH, 0.0)
    normal = centred / tl.sqrt(tl.sum(centred * centred, 0) / WIDTH + EPS)
    own = (row // tokens) * shift_stride + c
    factor = 1.0 + tl.load(scale + own, mask=live, other=0.0).to(tl.float32)
    offset = tl.load(shift + own, mask=live, other=0.0).to(tl.float32)
    if EIGHT:
        store_e4m3(out + place, out_scales + row, normal * factor + offset, live)
    else:
        tl.store(out + place, (normal * factor + offset).to(out.dtype.element_ty), mask=live)
