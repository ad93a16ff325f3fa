"""All steps of the sampler as one program: the DiT's engine and our guidance and solver step, once for each step.

What changes from step to step (the AdaLN rows, the row of the schedule) is an address or a number of the launch, so a
captured graph of it serves every prompt, schedule and guidance scale with the same sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .launches import Tensor
from .part import Part, Places

ALIGNED = 256
"""Engines want addresses that are multiples of this."""
TABLES = ("modulation", "final_modulation")
"""Inputs of the DiT that have a row for each step."""

F32 = np.dtype(np.float32)


class SamplerLoop:
    """The program for one DiT.

    dit      its part, of one engine
    kernels  the module of our CUDA kernels
    rows     shape of one step's rows of each of TABLES
    """

    results = ("latent",)

    def __init__(self, dit: Part, kernels: Any, rows: dict[str, tuple[int, ...]]):
        self.name, self._dit, self._kernels, self._rows = dit.name, dit, kernels, rows
        self.kinds = dit.kinds | dict.fromkeys((*TABLES, "table", "guidance"), F32)

    def prepare(self, lane: Any, places: Places) -> list[Callable[[], None]]:
        """The works of all steps. The latent is advanced where it lies."""
        (step,) = self._dit.engines
        latent, table = places["latent"], places["table"]
        inner = {name: places[name] for name in step.inputs if name not in TABLES}
        for name, shape in self._rows.items():
            inner[name] = Tensor(places[name].address, F32, (1, *shape))
        engine, context = step.prepare(lane, inner), lane.context(step)
        velocity = inner["velocity"]
        flat = Tensor(latent.address, F32, (latent.shape[0], int(np.prod(latent.shape[1:]))))
        data = lane.place(F32, flat.shape)
        branches = Tensor(velocity.address, velocity.kind, (velocity.shape[0], *flat.shape))
        works: list[Callable[[], None]] = []
        for index in range(table.shape[0]):

            def at(index: int = index) -> None:
                for name in TABLES:
                    place = places[name]
                    context.set_tensor_address(name, place.address + index * place.shape[1] * F32.itemsize)
                engine()

            def advance(index: int = index) -> None:
                self._kernels.guide_and_step(velocity=branches, guidance=places["guidance"], table=table, step=index,
                                             latent=flat, out=flat, data=data, stream=lane.stream)  # fmt: skip

            works += [at, advance]
        return works


def rows(values: Any) -> Any:
    """A table [steps, ...] with each step's numbers as one row whose bytes are a multiple of ALIGNED."""
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    rest = -flat.shape[1] % (ALIGNED // F32.itemsize)
    return np.concatenate([flat, np.zeros((len(flat), rest), np.float32)], axis=1) if rest else flat
