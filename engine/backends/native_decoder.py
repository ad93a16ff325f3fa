"""Scratch memory of the native decoder, whole or in strips, in bytes; how it can be cut, and how it is by itself.

The terms are those of csrc/cpu/model/decoder.cpp, decoder_strips.cpp and efficient_vit.cpp.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..config.generation import DecoderConfig

Matrix = Callable[[int, int], int]

LEAST_LINES = 32
"""Lines of a strip at least: below, most of what is computed lies beyond the strip."""
ROOM = 168 << 20
"""Scratch memory of a picture that nobody asked to cut, where few enough lines are then computed twice."""
_MOST_WORK = 1.04  # of a picture that is cut without being asked to, beside one run of its convolutions
_END = 12  # bytes of a pixel of the last convolution
_COUNTS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Strips(NamedTuple):
    """How a run of the decoder is cut: into so many strips of lines, in so many of its last stages."""

    count: int
    stages: int


WHOLE = Strips(1, 1)


def strips(axes: dict[str, int], decoder: DecoderConfig) -> list[Strips]:
    """How a picture of these sizes may be cut, least work first: [] where it cannot be.

    Lines near an edge of a strip are computed for both its sides, in early stages the most of them."""
    lines = axes["height"] * decoder.upscale
    counts = [count for count in _COUNTS if lines // count >= LEAST_LINES]
    every = [Strips(count, stages) for count in counts for stages in range(1, _whole(decoder) + 1)]
    return sorted(every, key=lambda each: _work(axes, decoder, each))


def usual(axes: dict[str, int], decoder: DecoderConfig, f32: Matrix, narrow: Matrix) -> Strips | None:
    """How a picture is cut where nobody says: None, for whole, within `ROOM`; else the cut of least work that is within
    it, or of least memory, among those that hardly take more work."""

    def scratch(cut: Strips | None) -> int:
        return buffers(axes, decoder, f32, narrow, cut)

    if scratch(None) <= ROOM:
        return None
    most = _MOST_WORK * _work(axes, decoder, None)
    cheap = [None, *(cut for cut in strips(axes, decoder) if _work(axes, decoder, cut) <= most)]
    return next((cut for cut in cheap if scratch(cut) <= ROOM), min(cheap, key=scratch))


def buffers(axes: dict[str, int], decoder: DecoderConfig, f32: Matrix, narrow: Matrix, cut: Strips | None) -> int:
    """The stages with attention in two places that they take in turn, the widest block on top; then, in the memory of
    all of them but the last, the stages without.

    axes    height and width of the latent, and batch
    f32, narrow  bytes of a matrix of so many rows and columns, of float32 and of activations
    """
    last, whole = len(decoder.channels) - 1, _whole(decoder)
    pixels = {stage: axes["batch"] * axes["height"] * axes["width"] * 4 ** (last - stage) for stage in range(last + 1)}
    places = [0, 0]
    for stage in range(whole, last + 1):
        place = (stage - whole) % 2
        places[place] = max(places[place], _picture(decoder, stage, pixels[stage], narrow))
    wide = [_widest(decoder, stage, pixels[stage], f32, narrow) for stage in range(whole, last + 1)]
    return places[0] + max(places[1] + max(wide[1:], default=0), wide[0], _ground(axes, decoder, pixels, narrow, cut))


def _ground(axes: dict[str, int], decoder: DecoderConfig, pixels: dict[int, int], narrow: Matrix, cut: Strips | None):
    """Bytes of the stages without attention, a picture beside the one that it is made of or what its blocks work in; in
    strips beside the residual stream that they start from."""

    def needed(stage: int, count: int, source: int) -> int:
        hidden = narrow(count, decoder.channels[stage])
        return _picture(decoder, stage, count, narrow) + max(source, hidden, count * _END)

    def before(stage: int, count: int) -> int:
        return _picture(decoder, stage + 1, count, narrow) if stage + 1 < whole else 0

    whole, last = _whole(decoder), len(decoder.channels) - 1
    kept = 0 if cut is None or cut.count == 1 else cut.stages
    most = max((needed(s, pixels[s], before(s, pixels[s + 1])) for s in range(kept, whole)), default=0)
    if not kept:
        return max(most, 0 if whole else pixels[0] * _END)
    start = pixels[kept] * decoder.channels[kept] * 4 if kept < whole else 0
    reach = _reach(axes, decoder, cut)
    for stage, (_, read) in reach.items():
        width = axes["width"] * 2 ** (last - stage)
        if stage + 1 in reach:
            source = _picture(decoder, stage + 1, reach[stage + 1][1] * width, narrow)
        else:
            source = narrow(read * width // 2, decoder.channels[kept])
        most = max(most, start + needed(stage, 2 * read * width, source))
    return most


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


def _work(axes: dict[str, int], decoder: DecoderConfig, cut: Strips | None) -> int:
    """Multiplications of the convolutional stages, for one column of the latent."""
    last, total, reach = len(decoder.channels) - 1, 0, {} if cut is None else _reach(axes, decoder, cut)
    for stage in range(_whole(decoder)):
        height = axes["height"] << (last - stage)
        made, read = reach.get(stage, (height, height // 2))
        channels, before = decoder.channels[stage], decoder.channels[stage + 1]
        blocks = made * 2 ** (last - stage) * decoder.depths[stage] * 18 * channels**2
        upsampled = read * 2 ** (last - stage - 1) * 16 * before * channels
        total += (cut.count if stage in reach else 1) * (blocks + upsampled)
    return total


def _picture(decoder: DecoderConfig, stage: int, pixels: int, narrow: Matrix) -> int:
    """The residual stream in float32, and beside it what a product reads, where that is another type."""
    each = 4 if narrow(1, 32) == 128 else 6
    return pixels * decoder.channels[stage] * each + 128


def _widest(decoder: DecoderConfig, stage: int, count: int, f32: Matrix, narrow: Matrix) -> int:
    channels, block = decoder.channels[stage], narrow(count, decoder.channels[stage])
    if not decoder.attention[stage]:
        return block
    sets = 1 + len(decoder.scales[stage])
    attention = narrow(count, sets * channels) + 3 * narrow(count, 3 * channels) + f32(count, channels)
    forward = f32(count, channels) + narrow(count, 8 * channels) + narrow(count, 4 * channels)
    return block + max(attention, forward)
