"""One step of the solver, as a pure function, and the state of one request (spec 6.1, E19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .schedule import Schedule, schedule

if TYPE_CHECKING:
    from ..config import SamplerConfig


def advance(
    plan: Schedule, index: int, latent: np.ndarray, velocity: np.ndarray, previous: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Step `index` of `plan`: (next latent, data prediction). Writes into none of its arguments.

    latent, velocity  [...] float32, the same shape; velocity after guidance
    previous          data prediction of the step before; needed where plan.second[index]
    """
    data = latent - plan.sigmas[index] * velocity
    following = plan.a[index] * latent
    following += plan.b[index] * data
    if plan.c[index]:
        following += plan.c[index] * previous
    return following, data


class Sampler:
    """Solver state of one request. Requests may be interleaved freely; the steps of one come in order.

    timesteps, sigmas  of the schedule
    index              the step that comes next; `len(sampler)` when done
    """

    __slots__ = ("_previous", "index", "plan")

    def __init__(self, plan: Schedule):
        self.plan = plan
        self.index = 0
        self._previous: np.ndarray | None = None

    @classmethod
    def of(cls, config: SamplerConfig, steps: int) -> Sampler:
        """A fresh sampler of `steps` steps; InputError unless steps is a whole number from 1 to train_steps."""
        return cls(schedule(config, steps))

    def __len__(self) -> int:
        return len(self.plan)

    @property
    def timesteps(self) -> np.ndarray:
        return self.plan.timesteps

    @property
    def sigmas(self) -> np.ndarray:
        return self.plan.sigmas

    @property
    def expected(self) -> np.ndarray | None:
        """Data prediction of the last step, the latent that the model then expected at the end; None before it."""
        return self._previous

    def step(self, index: int, latent: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Latent after step `index`, float32; InputError out of turn or where shape or type do not fit."""
        if index != self.index or index >= len(self):
            raise InputError(f"sampler: step {index} of {len(self)} out of turn; the next one is {self.index}")
        for name, array in (("latent", latent), ("velocity", velocity)):
            if array.dtype != np.float32:
                raise InputError(f"sampler: {name} is {array.dtype}, expected float32")
        if latent.shape != velocity.shape:
            raise InputError(f"sampler: velocity has shape {velocity.shape}, the latent {latent.shape}")
        following, self._previous = advance(self.plan, index, latent, velocity, self._previous)
        self.index += 1
        return following
