"""Scratch memory of the native decoder, whole or in strips, in bytes; and into how many strips it can be cut.

The terms are those of csrc/cpu/model/decoder.cpp, decoder_strips.cpp and efficient_vit.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

from ..config.generation import DecoderConfig

Matrix = Callable[[int, int], int]

LEAST_LINES = 32
"""Lines of a strip at least: below, most of what is computed lies beyond the strip."""
_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def strips(axes: dict[str, int], decoder: DecoderConfig) -> list[int]:
    """Into how many strips a picture of these sizes may be cut, fewest first: [1] where a cut is not possible."""
    if _whole(decoder) == 0:
        return [1]
    lines = axes["height"] * decoder.upscale
    return [1, *(count for count in _COUNTS if lines // count >= LEAST_LINES)]


def buffers(axes: dict[str, int], decoder: DecoderConfig, f32: Matrix, narrow: Matrix, strips: int) -> int:
    """Slots that the stages take in turn, and the widest block; of strips on top of the stages that run whole.

    axes    height and width of the latent, and batch
    f32, narrow  bytes of a matrix of so many rows and columns, of float32 and of activations
    """
    last, most = len(decoder.channels) - 1, axes["batch"]
    pixels = {stage: most * axes["height"] * axes["width"] * 4 ** (last - stage) for stage in range(last + 1)}
    if strips == 1:
        return _slots(decoder, pixels, f32, narrow) + max(_widest(decoder, pixels, f32, narrow), f32(pixels[0], 3))
    kept = {stage: count for stage, count in pixels.items() if stage >= _whole(decoder)}
    cut = {stage: lines * axes["width"] * 2 ** (last - stage) for stage, lines in _lines(axes, decoder, strips).items()}
    strip = _slots(decoder, cut, f32, narrow) + max(_widest(decoder, cut, f32, narrow), f32(cut[0], 3))
    return _slots(decoder, kept, f32, narrow) + max(_widest(decoder, kept, f32, narrow), strip)


def _whole(decoder: DecoderConfig) -> int:
    """The last stage that sees the whole picture; those below it can be cut."""
    return decoder.attention.index(True) if any(decoder.attention) else len(decoder.channels) - 1


def _lines(axes: dict[str, int], decoder: DecoderConfig, strips: int) -> dict[int, int]:
    """Lines that each stage below holds for a strip, at most."""
    height, made = axes["height"] * decoder.upscale, {}
    wanted = -(-height // strips) + 2  # the last convolution
    for stage in range(_whole(decoder)):
        blocks = wanted + 4 * decoder.depths[stage]  # two convolutions a block, on both sides
        source = blocks // 2 + 1  # lines of the stage before, which may begin and end within a pair
        wanted = min(source + 2, height >> (stage + 1))
        made[stage] = 2 * wanted
    return made


def _slots(decoder: DecoderConfig, pixels: dict[int, int], f32: Matrix, narrow: Matrix) -> int:
    each, most = 4 if narrow(1, 32) == f32(1, 32) else 6, [0, 0]  # float32, and beside it what a product reads
    for stage, count in pixels.items():
        most[stage % 2] = max(most[stage % 2], count * (decoder.channels[stage] + 32) * each)
    return sum(most)


def _widest(decoder: DecoderConfig, pixels: dict[int, int], f32: Matrix, narrow: Matrix) -> int:
    widest = 0
    for stage, count in pixels.items():
        channels, block = decoder.channels[stage], narrow(count, decoder.channels[stage])
        if decoder.attention[stage]:
            sets = 1 + len(decoder.scales[stage])
            attention = narrow(count, sets * channels) + 3 * narrow(count, 3 * channels) + f32(count, channels)
            forward = f32(count, channels) + narrow(count, 8 * channels) + narrow(count, 4 * channels)
            block += max(attention, forward)
        widest = max(widest, block)
    return widest
