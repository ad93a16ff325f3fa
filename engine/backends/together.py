"""Sampler steps of several requests as one run of the DiT, on a backend whose rows do not depend on each other.

The native backend computes every row of a product in the same order whatever the other rows are, and attention branch
by branch, so that a step among others gives the bits it gives alone (tests/native/test_together.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

MOST = 8
"""Requests of one run; `components` allows as many latents."""
_ROWS = ("latent", "modulation", "final_modulation")


class Several:
    """Cross keys, or values, of several pictures in the place of one array: the branches of one after the other's."""

    def __init__(self, parts: Sequence[Any]):
        self.parts = list(parts)
        blocks, _, heads, _, width = self.parts[0].shape
        branches, tokens = (sum(part.shape[1] for part in self.parts), max(part.shape[3] for part in self.parts))
        self.shape = blocks, branches, heads, tokens, width
        self.dtype = np.dtype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        made, at = np.zeros(self.shape, dtype or self.dtype), 0
        for part in self.parts:
            made[:, at : at + part.shape[1], :, : part.shape[3]] = np.asarray(part)
            at += part.shape[1]
        return made


def alike(component: str, inputs: dict[str, Any]) -> Hashable | None:
    """Calls of one component with the same value can be one run; None: this one runs alone."""
    if component != "dit" or isinstance(inputs["cross_keys"], np.ndarray):
        return None
    if inputs["latent"].shape[0] != 1 or len(inputs["branches"]) > 2:
        return None
    return component, inputs["latent"].shape


def join(many: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Inputs of one run for all calls of `many`."""
    joined = {name: np.concatenate([inputs[name] for inputs in many]) for name in (*_ROWS, "lengths")}
    joined |= {name: Several([inputs[name] for inputs in many]) for name in ("cross_keys", "cross_values")}
    joined["branches"] = np.concatenate([inputs["branches"] + number for number, inputs in enumerate(many)])
    return joined


def split(many: Sequence[dict[str, Any]], outputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Outputs of every call of `many` from those of their run."""
    found, end = [], 0
    for inputs in many:
        begin, end = end, end + len(inputs["branches"])
        found.append({"velocity": outputs["velocity"][begin:end]})
    return found
