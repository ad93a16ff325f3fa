"""Runs planned launches through Triton itself, which compiles each kernel when it is first needed, or interprets it."""

from __future__ import annotations

import importlib

from ..launches.launch import Launch


class Jit:
    """A runner that has every kernel. With TRITON_INTERPRET=1 it runs on the CPU, and products must be `wide`."""

    def has(self, launches: list[Launch]) -> bool:
        """Always: what is not compiled yet will be."""
        return True

    def run(self, launches: list[Launch], stream: int) -> None:
        """On torch's current stream, which is the one that Triton asks torch for."""
        for launch in launches:
            module = importlib.import_module(f"{__package__}.{launch.op}")
            settings = launch.tensors | launch.numbers | launch.constants
            getattr(module, launch.kernel)[launch.grid](**settings, num_warps=launch.warps, num_stages=launch.stages)
