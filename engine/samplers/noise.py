"""Initial noise of a picture: the same numbers for a seed on every machine and backend (docs/noise.md).

Philox4x32-10 under key (seed mod 2^32, seed div 2^32) and counter (block, 0, index, stream): `index` is the picture's
number under its seed, `stream` 0 for noise and 1 for the choice of tokens. The four words x0..x3 of block b make the
elements 4b .. 4b+3 of the picture's latent in C order, by Box-Muller in float64 rounded once to float32:

    u = (x0 + 1) / 2^32  in (0, 1]        radius = sqrt(-2 ln u)
    t = x1 / 2^32        in [0, 1)        (z0, z1) = radius * (cos 2 pi t, sin 2 pi t)      (z2, z3) from x2, x3

ln, cos and sin are the polynomials of `box_muller.py`, built from exactly rounded operations only, because the
last bit of a mathematical library differs between machines.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .box_muller import normals
from .philox import philox
from .whole import whole

NOISE, CHOICE = 0, 1  # streams


def check_seed(seed: int) -> int:
    """`seed` as int; InputError unless it is a whole number from 0 to 2^64 - 1."""
    value = whole(seed)
    if value is None or not 0 <= value < 2**64:
        raise InputError(f"seed={seed!r} is not a whole number from 0 to 2**64 - 1")
    return value


def fresh_seed() -> int:
    """A seed for a caller who gave none: 32 random bits of the operating system."""
    return secrets.randbits(32)


def _words(seed: int, index: int, stream: int, blocks: int, first: int = 0) -> np.ndarray:
    """[blocks, 4] uint32."""
    if not 0 <= index < 2**32:
        raise InputError(f"noise: picture index {index} is outside 0..2**32 - 1")
    counters = np.empty((blocks, 4), np.uint32)
    counters[:, 0] = np.arange(first, first + blocks, dtype=np.uint64).astype(np.uint32)
    counters[:, 1:] = 0, index, stream
    return philox(counters, (seed & 0xFFFFFFFF, seed >> 32))


def noise(seed: int, shape: Sequence[int], count: int = 1, first: int = 0) -> np.ndarray:
    """Noise of pictures first .. first + count - 1 of a seed.

    seed     0 .. 2^64 - 1 (else InputError)
    shape    of one picture's latent: channels, height, width
    returns  [count, *shape] float32, N(0, 1); picture k depends on seed and k alone, not on count
    """
    seed = check_seed(seed)
    size = math.prod(shape)
    made = np.empty((count, size), np.float32)
    for row in range(count):
        made[row] = normals(_words(seed, first + row, NOISE, -(-size // 4))).ravel()[:size]
    return made.reshape(count, *shape)


def uniforms(seed: int, count: int, first: int = 0, index: int = 0) -> np.ndarray:
    """[count] float64 in (0, 1], numbers first .. of the stream that chooses tokens; one block each."""
    words = _words(check_seed(seed), index, CHOICE, count, first)
    return (words[:, 0].astype(np.float64) + 1) * 2.0**-32


def check_latents(latents: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Noise a caller brings, as float32 in C order; InputError unless it is finite and has `shape`."""
    array = np.asarray(latents)
    if array.dtype.kind not in "fiu":
        raise InputError(f"latents are {array.dtype}; pass floating-point numbers")
    if array.shape != tuple(shape):
        raise InputError(f"latents have shape {array.shape}, expected {tuple(shape)}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, which is refused below
        array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"latents hold {np.count_nonzero(~np.isfinite(array))} values that are not finite")
    return array
