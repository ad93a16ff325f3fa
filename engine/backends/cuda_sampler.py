"""The DiT on fixed buffers: one step, or all steps of a picture and its decoding, as functions that a graph captures.

Prompts are padded to a multiple of `bucket` tokens, so that few graphs serve all lengths. What was padded is masked by
the lengths, which are data: attention never looks at it, and a graph fits every prompt of its bucket and every schedule
of its number of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..modules.fused.dit import FusedDit
from .cuda_values import Buffers, OnDevice, put, put_padded


@dataclass(frozen=True, slots=True)
class Shape:
    """What a graph is captured for."""

    batch: int  # latents
    branches: int  # rows of the condition
    grid: tuple[int, int]
    tokens: int  # of the padded prompt
    steps: int  # sampler steps of a whole picture; 0: one velocity
    shared: bool = True  # every branch is one of the single latent


class Sampling:
    """Buffers and functions for the shapes of one model.

    dit      the fused step; decoder: latent [1, channels, h, w] -> picture, or None where only steps are run
    latent_scale  what the DiT's latent is divided by before it is decoded
    """

    def __init__(self, dit: FusedDit, decoder: Callable[[torch.Tensor], torch.Tensor] | None, latent_scale: float,
                 buffers: Buffers):  # fmt: skip
        self.dit, self.decoder, self.latent_scale, self.buffers = dit, decoder, latent_scale, buffers
        self._held: tuple[Any, Any, int] | None = None  # keys and values that the buffers hold, and their bucket

    def fill(self, shape: Shape, inputs: dict[str, Any]) -> None:
        """Queue the copies of a call's inputs into the buffers of its shape."""
        put(self._picture(shape), inputs["latent"])
        steps = shape.steps or shape.batch
        put(self._rows("modulation", steps, *inputs["modulation"].shape[1:]), inputs["modulation"])
        put(self._rows("final", steps, *inputs["final_modulation"].shape[1:]), inputs["final_modulation"])
        put(self.buffers.get("lengths", shape.branches, dtype=torch.int32), inputs["lengths"])
        if shape.steps:
            put(self.buffers.get("table", shape.steps, 4), inputs["table"])
            put(self.buffers.get("guidance", 1), inputs["guidance"])
        else:
            put(self.buffers.get("branches", shape.branches, dtype=torch.int64), inputs["branches"])
        keys, values = inputs["cross_keys"], inputs["cross_values"]
        held, self._held = self._held, None
        if held is None or held[0] is not keys or held[1] is not values or held[2] != shape.tokens:
            for name, value in (("keys", keys), ("values", values)):
                put_padded(self._condition(name, shape), value)
        if isinstance(keys, OnDevice) and isinstance(values, OnDevice):  # an array may change where it lies
            self._held = keys, values, shape.tokens

    def step(self, shape: Shape) -> Callable[[], None]:
        """One velocity: buffers -> `velocity`."""
        arguments = self._arguments(shape)
        config = self.dit.config
        modulation = self._rows("modulation", shape.batch, config.depth, 6, config.width)
        final = self._rows("final", shape.batch, 2, config.width)
        branches = shape.branches if shape.shared else self.buffers.get("branches", shape.branches, dtype=torch.int64)
        latent, out = self._latent(shape), self.velocity(shape)

        def run() -> None:
            latent.copy_(self._token_major(shape))
            found = self.dit(latent, shape.grid, modulation, final, branches, **arguments)
            out.copy_(found.transpose(1, 2).unflatten(2, shape.grid))

        return run

    def whole(self, shape: Shape) -> Callable[[], None]:
        """Every step, guidance and solver, then the decoder: buffers -> `image`."""
        arguments, config = self._arguments(shape), self.dit.config
        modulation = self._rows("modulation", shape.steps, config.depth, 6, config.width)
        final = self._rows("final", shape.steps, 2, config.width)
        latent, table = self._latent(shape), self.buffers.get("table", shape.steps, 4)
        flat = latent.flatten(1)
        data, guidance = self.buffers.get("data", *flat.shape), self.buffers.get("guidance", 1)

        def run() -> None:
            latent.copy_(self._token_major(shape))  # here, as the warm-up of a capture changes the latent too
            for step in range(shape.steps):
                rows = slice(step, step + 1)
                velocity = self.dit(latent, shape.grid, modulation[rows], final[rows], shape.branches, **arguments)
                velocity = velocity.flatten(1).unsqueeze(1)
                self.dit.ops.guide_and_step(velocity, guidance, table, flat, data, step)
            drawn = latent.transpose(1, 2).unflatten(2, shape.grid) / self.latent_scale
            decoded = self.decoder(drawn)
            self.buffers.get("image", *decoded.shape).copy_(decoded)

        return run

    def velocity(self, shape: Shape) -> torch.Tensor:
        """[branches, channels, rows, columns] float32, where `step` leaves it."""
        return self.buffers.get("velocity", shape.branches, self.dit.config.out_channels, *shape.grid)

    def image(self, height: int, width: int) -> torch.Tensor:
        """[1, 3, height, width] float32, where `whole` leaves it."""
        return self.buffers.get("image", 1, 3, height, width)

    def _latent(self, shape: Shape) -> torch.Tensor:
        return self.buffers.get("latent", shape.batch, shape.grid[0] * shape.grid[1], self.dit.config.in_channels)

    def _picture(self, shape: Shape) -> torch.Tensor:
        return self.buffers.get("given", shape.batch, self.dit.config.in_channels, *shape.grid)

    def _token_major(self, shape: Shape) -> torch.Tensor:
        return self._picture(shape).flatten(2).transpose(1, 2)

    def _rows(self, name: str, *sizes: int) -> torch.Tensor:
        return self.buffers.get(name, *sizes)

    def _condition(self, name: str, shape: Shape) -> torch.Tensor:
        d = self.dit.config
        sizes = d.depth, shape.branches, d.cross_heads, shape.tokens, d.cross_head_dim
        return self.buffers.get(name, *sizes, dtype=self.dit.half)

    def _arguments(self, shape: Shape) -> dict[str, torch.Tensor]:
        return {
            "keys": self._condition("keys", shape), "values": self._condition("values", shape),
            "lengths": self.buffers.get("lengths", shape.branches, dtype=torch.int32),
        }  # fmt: skip
