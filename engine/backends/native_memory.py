"""What the native backend holds for a component: packed weights, and scratch memory of one run, in bytes.

The terms are those of csrc/cpu/model/*.cpp, each named after the buffer it counts; what is kept for a few rows only is
left out. tests/runtime/test_plan.py and tests/native/test_strips.py compare both with what is really held.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from ..config import ModelConfig
from . import native_decoder

_PANEL = 32  # columns of a packed panel
_TASK = 96 << 10  # scratch of one thread in a product
_SLACK = 64 << 10
_MARGIN = 1.05  # padding of grouped and stacked layers, which is not counted one by one
_FINE = ("router", "projector", "patch_embed", "proj_out", "patch_embedding")  # never int8
_LARGE = ("vision", "language", "lm_head", "condition", "dit")
_TEXT = ("language", "lm_head")  # in int4: groups of 32 weights of 4 bits with a scale of two bytes

Matrix = Callable[[int, int], int]


def packed(component: str, shapes: dict[str, tuple[int, ...]], precision: str) -> int:
    """Bytes of a component's packed weights; `shapes` of its parameters by name."""
    return int(_MARGIN * sum(_tensor(component, name, shape, precision) for name, shape in shapes.items()))


def _tensor(component: str, name: str, shape: tuple[int, ...], precision: str) -> int:
    plain = 4 * prod(shape) + 64
    if len(shape) < 2 or "scale_shift" in name or "position" in name or "class" in name or "queries" in name:
        return plain
    if len(shape) == 4 and shape[1] == 1:  # depthwise
        return plain
    rows, inputs, factor = shape[0], prod(shape[1:]), 1.0
    if component == "decoder" and len(shape) == 4 and shape[2] == 3 and ".0.conv." in name:
        factor = 16 / 9  # four phases of 2x2 taps stand for one kernel of 3x3 (E17)
    columns = -(-rows // _PANEL) * _PANEL
    if precision == "int4" and component in _TEXT:
        return columns * (-(-inputs // 8) * 4 + -(-inputs // 32) * 2) + 64
    whole = precision in ("int8", "int4") and component in _LARGE and not any(part in name for part in _FINE)
    size = 1 if whole else 4 if precision == "fp32" else 2
    return int(columns * -(-inputs * size // 4) * 4 * factor) + (8 * rows if whole else 0) + 64


def scratch(
    component: str,
    axes: dict[str, int],
    config: ModelConfig,
    precision: str,
    threads: int,
    strips: native_decoder.Strips | None = None,
) -> int:
    """Bytes of scratch memory of one run; `axes` as `components.Component.check` gives them.

    strips  how the decoder is cut, which others cannot be; None: as it is where nobody says
    """
    f32, narrow = _matrices(precision)
    if component == "decoder":
        cut = strips or usual_strips(axes, config, precision)
        buffers = native_decoder.buffers(axes, config.decoder, f32, narrow, cut)
    else:
        buffers = _SCRATCH[component](axes, config, f32, narrow)
    return buffers + threads * (_TASK + _attention(axes)) + _SLACK


def usual_strips(axes: dict[str, int], config: ModelConfig, precision: str) -> native_decoder.Strips | None:
    """How the decoder is cut where nobody says; None: not at all."""
    return native_decoder.usual(axes, config.decoder, *_matrices(precision))


def _matrices(precision: str) -> tuple[Matrix, Matrix]:
    """Bytes of a matrix of so many rows and columns, of float32 and of activations."""
    act = 4 if precision == "fp32" else 2
    return lambda rows, columns: rows * _row(4 * columns), lambda rows, columns: rows * _row(act * columns)


def _row(size: int) -> int:
    size = -(-size // 64) * 64
    return size + 64 if size % 1024 == 0 else size


def _attention(axes: dict[str, int]) -> int:
    keys = max(axes.get("tokens", 0) + axes.get("past", 0), axes.get("height", 0) * axes.get("width", 0) // 196)
    rounded = max(128, -(-keys // 64) * 64)  # no head is wider
    block = min(96, max(6, (384 << 10) // max(1, rounded * 8) // 6 * 6))
    return _TASK + block * rounded * 8 + 256


def _encoder(rows: int, width: int, hidden: int, f32: Matrix, narrow: Matrix) -> int:
    """x, qkv, mixed, hidden, packed keys and values, and what a norm or a quantisation writes."""
    return (f32(rows, width) + narrow(rows, 3 * width) + narrow(rows, width) + narrow(rows, hidden)
            + 2 * narrow(rows + _PANEL, width) + narrow(rows, max(width, hidden)))  # fmt: skip


def _vision(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    v, tiles = config.vision, axes["tiles"]
    patches = (axes["height"] // v.patch_size) * (axes["width"] // v.patch_size)
    layers = _encoder(tiles * (1 + patches), v.width, v.mlp_width, f32, narrow)
    entered, inputs, cells = f32(tiles * (1 + patches), v.width), 3 * v.patch_size**2, tiles * patches // 4
    gathered = entered + f32(patches, inputs) + narrow(patches, inputs)
    return max(layers, gathered, entered + f32(cells, 4 * v.width) + 3 * narrow(cells, 4 * v.width))


def _qwen2(rows: int, config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    """qkv, query, mixed, gated, and what a norm or a quantisation writes."""
    t = config.language
    kv_width = t.kv_heads * t.head_dim
    return (f32(rows, t.width + 2 * kv_width) + 2 * narrow(rows, t.width) + narrow(rows, t.mlp_width)
            + narrow(rows, max(t.width, t.mlp_width)))  # fmt: skip


def _language(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    rows = axes["batch"] * axes["tokens"]
    return 2 * f32(rows, config.language.width) + _qwen2(rows, config, f32, narrow)


def _lm_head(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    return narrow(axes["batch"], config.language.width)


def _condition(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    width, rows, tokens = config.language.width, axes["batch"] * axes["rows"], axes["batch"] * axes["tokens"]
    routed = f32(rows, width) if config.router else 0
    routing = f32(rows, width) + 3 * narrow(rows, width)
    return routed + max(routing, f32(tokens, width) + _qwen2(tokens, config, f32, narrow))


def _context(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    width, rows = config.dit.width, axes["branch"] * axes["tokens"]
    entered = narrow(rows, config.dit.caption_width)
    return f32(rows, width) + 2 * narrow(rows, width) + max(narrow(rows, 2 * width), entered)


def _modulation(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    return f32(axes["steps"], 256) + 3 * f32(axes["steps"], config.dit.width) + f32(axes["steps"], 6 * config.dit.width)


def _dit(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    """x before and after the branches part, wide, narrow, and what a norm or a quantisation writes."""
    d, pixels = config.dit, axes["height"] * axes["width"]
    before, after = axes["batch"] * pixels, axes["branch"] * pixels
    most = max(before, after)
    tables = axes["branch"] * (6 * d.depth + 2) * d.width * 4
    return (f32(before, d.width) + f32(after, d.width) + narrow(most, max(2 * d.mlp_width, 3 * d.width))
            + narrow(most, max(d.mlp_width, d.width)) + narrow(most, d.width) + tables)  # fmt: skip


def _streams(axes: dict[str, int], config: ModelConfig, f32: Matrix, narrow: Matrix) -> int:
    width, rows = config.language.width, axes["batch"] * axes["tokens"]
    hidden = max(4 * width, config.streams.pixel_mlp_width)
    return _encoder(rows, width, hidden, f32, narrow) + f32(rows, 2 * config.streams.latent_channels)


_SCRATCH: dict[str, Any] = {
    "vision": _vision, "language": _language, "lm_head": _lm_head, "condition": _condition, "context": _context,
    "modulation": _modulation, "dit": _dit, "streams": _streams,
}  # fmt: skip
