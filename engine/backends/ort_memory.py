"""What the ONNX Runtime backend holds for a component, in bytes: an estimate, made of what the native one counts.

Measured on the small checkpoint with one thread (tests/runtime/test_plan.py): a session holds its weights about
twice, as stored and packed for the products, and a little beside; a run holds a fifth more than the native one, of the
decoder, whose stages are laid out by hand there, twice as much and more, and attention weights of all heads at once,
which the native backend never has as a whole.
"""

from __future__ import annotations

from math import prod

from ..config import ModelConfig
from .native_decoder import WHOLE
from .native_memory import scratch as native_scratch

_SESSION = 1 << 20
_COPIES, _LOGITS = 2.0, 3.5
_MORE, _MORE_DECODER = 1.2, 2.2  # than a native run


def weights(shapes: dict[str, tuple[int, ...]]) -> int:
    """Bytes of a session with parameters of these shapes."""
    return int(_COPIES * 4 * sum(map(prod, shapes.values()))) + _SESSION


def scratch(component: str, axes: dict[str, int], config: ModelConfig) -> int:
    """Bytes of one run; `axes` as `components.Component.check` gives them."""
    decoder = component == "decoder"
    fused = native_scratch(component, axes, config, "fp32", 1, strips=WHOLE if decoder else None)
    return int((_MORE_DECODER if decoder else _MORE) * fused + _LOGITS * 4 * _logits(component, axes, config))


def _logits(component: str, axes: dict[str, int], config: ModelConfig) -> int:
    """Attention weights of one layer, all heads and rows."""
    if component == "vision":
        v = config.vision
        tokens = 1 + (axes["height"] // v.patch_size) * (axes["width"] // v.patch_size)
        return axes["tiles"] * v.heads * tokens**2
    if component == "language":
        return axes["batch"] * config.language.heads * axes["tokens"] * (axes["tokens"] + axes["past"])
    if component == "condition":
        return axes["batch"] * config.language.heads * axes["tokens"] ** 2
    if component == "dit":
        return axes["branch"] * config.dit.cross_heads * axes["height"] * axes["width"] * axes["tokens"]
    if component == "streams" and config.streams.dual:
        return axes["batch"] * config.streams.pixel_heads * axes["tokens"] ** 2
    return 0
