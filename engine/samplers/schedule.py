"""Noise levels, timesteps and the per-step constants of one sampling run (spec 6, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .whole import whole

if TYPE_CHECKING:
    from ..config import SamplerConfig


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Constants of `steps` solver steps; arrays are read-only and shared between requests.

    sigmas     [steps + 1] float32, strictly falling, the last one 0
    timesteps  [steps] what the DiT is told: int64 for DPM-Solver++ (truncated), float32 for Euler
    a, b, c    [steps] float32: next latent = a * latent + b * data + c * previous data, where
               data = latent - sigma * velocity is the picture the model predicts
    second     [steps] bool: the step reads the previous data prediction (c != 0)
    """

    sigmas: np.ndarray
    timesteps: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def second(self) -> np.ndarray:
        return self.c != 0


def check_steps(steps: int, most: int = 1000) -> int:
    """`steps` as int; InputError unless it is a whole number from 1 to `most`."""
    count = whole(steps)
    if count is None or not 1 <= count <= most:
        raise InputError(f"num_inference_steps={steps!r} is not a whole number from 1 to {most}")
    return count


def shifted(sigma: np.ndarray, shift: float) -> np.ndarray:
    """Timestep shift of flow matching: shift s / (1 + (shift - 1) s)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def dpm_sigmas(steps: int, shift: float, train_steps: int) -> np.ndarray:
    """[steps + 1] float64: the first of steps + 1 equal steps from 1 - 1/train_steps to 0, shifted, then 0."""
    # Written as 1 - (1 .. 1/train_steps) because truncating 1000 * sigma to a timestep sees the last bit.
    levels = 1 - np.linspace(1, 1 / train_steps, steps + 1)
    return np.append(shifted(levels, shift)[:0:-1], 0.0)


def euler_sigmas(steps: int, shift: float, train_steps: int, linspace: bool) -> np.ndarray:
    """[steps + 1] float64. `linspace`: 1 .. 1/steps, else from 1 to the least trained sigma; shifted, then 0.

    The least trained sigma is already shifted and is shifted again with the rest, as the original scheduler does."""
    least = 1 / steps if linspace else float(shifted(np.float64(1 / train_steps), shift))
    return np.append(shifted(np.linspace(1, least, steps), shift), 0.0)


def _second_order(sigmas: np.ndarray) -> np.ndarray:
    """[steps] half the inverse ratio of neighbouring half-log-SNR steps, 0 where the step is first order."""
    steps = len(sigmas) - 1
    slope = np.zeros(steps)
    if steps > 2:
        half_log_snr = np.log1p(-sigmas[:-1]) - np.log(sigmas[:-1])
        widths = np.diff(half_log_snr)
        slope[1:-1] = widths[1:] / (2 * widths[:-1])
    return slope


def schedule(config: SamplerConfig, steps: int) -> Schedule:
    """Constants for `steps` steps of the sampler `config` describes; steps 1 .. train_steps, else InputError."""
    return _schedule(config, check_steps(steps, config.train_steps))


@lru_cache(maxsize=64)
def _schedule(config: SamplerConfig, steps: int) -> Schedule:
    if config.kind == "dpm-solver++":
        sigmas = dpm_sigmas(steps, config.shift, config.train_steps)
        timesteps = (sigmas[:-1] * config.train_steps).astype(np.int64)
        slope = _second_order(sigmas)
    else:
        sigmas = euler_sigmas(steps, config.shift, config.train_steps, config.linspace)
        timesteps = (sigmas[:-1] * config.train_steps).astype(np.float32)
        slope = np.zeros(steps)
    keep = sigmas[1:] / sigmas[:-1]
    constants = (sigmas, keep, (1 - keep) * (1 + slope), (keep - 1) * slope)
    sigmas, a, b, c = (constant.astype(np.float32) for constant in constants)
    for array in (sigmas, timesteps, a, b, c):
        array.setflags(write=False)
    return Schedule(sigmas=sigmas, timesteps=timesteps, a=a, b=b, c=c)
