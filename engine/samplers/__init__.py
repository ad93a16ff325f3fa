"""Noise, schedules, solver steps and guidance, in numpy."""

from .guidance import branches, check_scale, guide
from .noise import check_latents, check_seed, fresh_seed, noise, uniforms
from .schedule import Schedule, check_steps, schedule
from .solver import Sampler, advance

__all__ = [
    "Sampler",
    "Schedule",
    "advance",
    "branches",
    "check_latents",
    "check_scale",
    "check_seed",
    "check_steps",
    "fresh_seed",
    "guide",
    "noise",
    "schedule",
    "uniforms",
]
