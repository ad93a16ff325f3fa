"""The sampler alone, over the analytic velocity that the scheduler vectors state."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ..config import SamplerConfig
from ..samplers import Sampler


def velocity(latent: np.ndarray, timestep: float) -> np.ndarray:
    """sin(1.3 x + 0.002 t) - 0.4 roll(x, 1, last axis) + 0.15 x (t / 1000), the velocity of the vectors."""
    t = np.float32(timestep)
    wave = np.sin(np.float32(1.3) * latent + np.float32(0.002) * t)
    return wave - np.float32(0.4) * np.roll(latent, 1, axis=-1) + np.float32(0.15) * latent * (t / np.float32(1000))


def sampler_config(functions: str) -> SamplerConfig:
    """The sampler that a file's metadata describes."""
    shift = re.search(r"shift=([\d.]+)", functions)
    if functions.startswith("DPMSolver"):
        return SamplerConfig()
    return SamplerConfig(kind="euler", shift=float(shift.group(1)), linspace="linspace" in functions)


def recompute_scheduler(golden: dict[str, np.ndarray], meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every result of one scheduler file: n<steps>.{model_output, samples, timesteps, sigmas}."""
    config = sampler_config(meta["functions"])
    got: dict[str, np.ndarray] = {}
    for steps in sorted({int(name[1:].split(".")[0]) for name in golden if re.match(r"n\d+\.", name)}):
        sampler, latent = Sampler.of(config, steps), golden["in.noise"]
        outputs, samples = [], []
        for index, timestep in enumerate(sampler.timesteps):
            outputs.append(velocity(latent, timestep))
            latent = sampler.step(index, latent, outputs[-1])
            samples.append(latent)
        got |= {
            f"n{steps}.model_output": np.stack(outputs), f"n{steps}.samples": np.stack(samples),
            f"n{steps}.timesteps": sampler.timesteps, f"n{steps}.sigmas": sampler.sigmas,
        }  # fmt: skip
    return got
