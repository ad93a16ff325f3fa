"""The decoder's floats to bytes: clamp, bilinear resize, round (spec 1.7)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _lerp(image, where, step, weight, live):
    """Unit value between the pixels `where` and `where + step`."""
    low = tl.load(image + where, mask=live, other=0.0).to(tl.float32)
    high = tl.load(image + where + step, mask=live, other=0.0).to(tl.float32)
    low = tl.minimum(tl.maximum(low, -1.0), 1.0) * 0.5 + 0.5
    high = tl.minimum(tl.maximum(high, -1.0), 1.0) * 0.5 + 0.5
    return low + (high - low) * weight


@triton.jit
def clamp_resize_uint8(
    image, row_low, row_weight, column_low, column_weight, out, rows, columns, height, width,
    batch_step, channel_step, row_step, column_step,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program a run of pixels: down first, then across, then rounded half to even.

    image      [batch, CHANNELS, rows, columns] of any strides, nominally in [-1, 1]
    *_low      lower sample of every place, int32 [height], [width]; *_weight the upper one's weight, float32
    out        [batch, height, width, CHANNELS] uint8
    """
    batch = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = place < height * width
    y, x = place // width, place % width
    top = tl.load(row_low + y, mask=live, other=0)
    left = tl.load(column_low + x, mask=live, other=0)
    down = tl.where(top + 1 < rows, row_step, 0)
    across = tl.where(left + 1 < columns, column_step, 0)
    row_share = tl.load(row_weight + y, mask=live, other=0.0)
    column_share = tl.load(column_weight + x, mask=live, other=0.0)
    for channel in tl.static_range(CHANNELS):
        corner = batch.to(tl.int64) * batch_step + channel * channel_step + top * row_step + left * column_step
        first = _lerp(image, corner, down, row_share, live)
        second = _lerp(image, corner + across, down, row_share, live)
        value = (first + (second - first) * column_share) * 255.0
        rounded = tl.floor(value + 0.5)
        tie_to_odd = (rounded - value == 0.5) & (rounded - 2.0 * tl.floor(rounded * 0.5) == 1.0)
        rounded = tl.where(tie_to_odd, rounded - 1.0, rounded)
        target = (batch.to(tl.int64) * height * width + place) * CHANNELS + channel
        tl.store(out + target, rounded.to(tl.uint8), mask=live)
