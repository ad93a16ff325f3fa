"""Rows in float8 (e4m3) with a scale each, as products in 8 bits take them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def e4m3_bits(x):
    """Bits of the e4m3 number nearest to a float32, ties to even, at most 448 in size; NaN stays NaN.

    In integers: the same bits on every GPU (those before sm_89 have no instruction for it) and in the interpreter.
    """
    bits = x.to(tl.uint32, bitcast=True)
    size = bits & 0x7FFFFFFF
    # Below 2^-6 the numbers are 2^-9 apart, as floats from 2^14 on are. Above, 20 bits of mantissa go.
    small = (tl.abs(x) + 16384.0).to(tl.uint32, bitcast=True) - 0x46800000
    usual = ((size + 0x7FFFF + ((size >> 20) & 1)) >> 20) - 960
    code = tl.where(size < 0x3C800000, small, tl.minimum(usual, 0x7E)) | ((bits >> 24) & 0x80)
    return tl.where(size > 0x7F800000, 0x7F, code).to(tl.uint8)


@triton.jit
def store_e4m3(values, scale, x, live):
    """One row x (0 where it is not live) as e4m3, and its scale: largest |x| / 448, at least 2^-100 / 448."""
    largest = tl.maximum(tl.max(tl.abs(x), 0), 7.888609052210118e-31)  # both leave NaN out
    tl.store(values, e4m3_bits(x * tl.div_rn(448.0, largest)), mask=live)
    tl.store(scale, tl.div_rn(largest, 448.0))


@triton.jit
def quantize_rows(x, values, scales, WIDTH: tl.constexpr, BLOCK_W: tl.constexpr):
    """One program a row. x [rows, WIDTH], values [rows, WIDTH] bytes, scales [rows] float32."""
    row = tl.program_id(0)
    c = tl.arange(0, BLOCK_W)
    live = c < WIDTH
    place = row.to(tl.int64) * WIDTH + c
    store_e4m3(values + place, scales + row, tl.load(x + place, mask=live, other=0.0).to(tl.float32), live)
