"""Scratch memory of the native decoder, whole or in strips, in bytes; and into how many strips it can be cut.

The terms are those of csrc/cpu/model/decoder.cpp, decoder_strips.cpp and efficient_vit.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..config.generation import DecoderConfig

Matrix = Callable[[int, int], int]

LEAST_LINES = 32
"""Lines of a strip at least: below, most of what is computed lies beyond the strip."""
_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Strips(NamedTuple):
    """How a run of the decoder is cut: into so many strips of lines, in so many of its last stages."""

    count: int
    stages: int


def strips(axes: dict[str, int], decoder: DecoderConfig) -> list[Strips]:
    """How a picture of these sizes may be cut, least work first: [] where it cannot be.

    Lines near an edge of a strip are computed for both its sides, in early stages the most of them."""
    lines = axes["height"] * decoder.upscale
    counts = [count for count in _COUNTS if lines // count >= LEAST_LINES]
    every = [Strips(count, stages) for count in counts for stages in range(1, _whole(decoder) + 1)]
    return sorted(every, key=lambda each: _work(axes, decoder, each))


def buffers(axes: dict[str, int], decoder: DecoderConfig, f32: Matrix, narrow: Matrix, cut: Strips | None) -> int:
    """Slots that the stages take in turn, and the widest block; of strips on top of the stages that run whole.

    axes    height and width of the latent, and batch
    f32, narrow  bytes of a matrix of so many rows and columns, of float32 and of activations
    """
    last, most = len(decoder.channels) - 1, axes["batch"]
    pixels = {stage: most * axes["height"] * axes["width"] * 4 ** (last - stage) for stage in range(last + 1)}
    if cut is None:
        return _slots(decoder, pixels, f32, narrow) + max(_widest(decoder, pixels, f32, narrow), f32(pixels[0], 3))
    kept = {stage: count for stage, count in pixels.items() if stage >= cut.stages}
    part = {stage: 2 * read * axes["width"] * 2 ** (last - stage)
            for stage, (_, read) in _reach(axes, decoder, cut).items()}  # fmt: skip
    strip = _slots(decoder, part, f32, narrow) + max(_widest(decoder, part, f32, narrow), f32(part[0], 3))
    return _slots(decoder, kept, f32, narrow) + max(_widest(decoder, kept, f32, narrow), strip)


def _whole(decoder: DecoderConfig) -> int:
    """The last stage that sees the whole picture; those below it can be cut."""
    return decoder.attention.index(True) if any(decoder.attention) else len(decoder.channels) - 1


def _reach(axes: dict[str, int], decoder: DecoderConfig, cut: Strips) -> dict[int, tuple[int, int]]:
    """Of each stage that is cut: lines that it makes for a strip, and that it reads of the stage before, at most."""
    height, found = axes["height"] * decoder.upscale, {}
    wanted = -(-height // cut.count) + 2  # the last convolution
    for stage in range(cut.stages):
        made = min(wanted + 4 * decoder.depths[stage], height >> stage)  # two convolutions a block, on both sides
        source = made // 2 + 1  # may begin and end within a pair
        wanted = min(source + 2, height >> (stage + 1))
        found[stage] = made, wanted
    return found


def _work(axes: dict[str, int], decoder: DecoderConfig, cut: Strips) -> int:
    """Multiplications of the convolutional stages, for one column of the latent."""
    last, total, reach = len(decoder.channels) - 1, 0, _reach(axes, decoder, cut)
    for stage in range(_whole(decoder)):
        height = axes["height"] << (last - stage)
        made, read = reach.get(stage, (height, height // 2))
        channels, before = decoder.channels[stage], decoder.channels[stage + 1]
        blocks = made * 2 ** (last - stage) * decoder.depths[stage] * 18 * channels**2
        upsampled = read * 2 ** (last - stage - 1) * 16 * before * channels
        total += (cut.count if stage in reach else 1) * (blocks + upsampled)
    return total


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
