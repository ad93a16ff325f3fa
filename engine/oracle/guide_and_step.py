"""Guidance and one solver step in float64 (spec 6), their error bounds and example inputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import bounds
from .check import Report, check

Inputs = dict[str, np.ndarray | int]


def _guided(inputs: Inputs) -> bounds.Bounded:
    velocity = np.asarray(inputs["velocity"], np.float64)
    first = bounds.exact(velocity[0])
    if len(velocity) == 1:
        return first
    strength = bounds.exact(np.asarray(inputs["guidance"])[:, None])
    return bounds.add(
        first, bounds.multiply(strength, bounds.add(bounds.exact(velocity[1]), bounds.exact(-velocity[0])))
    )


def bounded(**inputs: np.ndarray | int) -> tuple[bounds.Bounded, bounds.Bounded]:
    """(next latent, data prediction), each [images, size], with the largest error of float32 ones.

    velocity  [branches, images, size], unconditional branch first where there are two
    guidance  [images], for two branches
    table     [steps, 4]: sigma, a, b, c; row `step` is used
    latent    [images, size]; data [images, size]: the prediction before, which may be anything where c is 0

    data = latent - sigma v, next = a latent + b data + c data before, v = v_u + guidance (v_c - v_u).
    """
    sigma, a, b, c = (bounds.exact(x) for x in np.asarray(inputs["table"], np.float64)[inputs["step"]])
    with np.errstate(invalid="ignore", over="ignore"):
        latent = bounds.exact(inputs["latent"])
        moved = bounds.multiply(sigma, _guided(inputs))
        data = bounds.add(latent, bounds.Bounded(-moved.value, moved.error))
        following = bounds.add(bounds.multiply(a, latent), bounds.multiply(b, data))
        if c.value != 0:
            following = bounds.add(following, bounds.multiply(c, bounds.exact(inputs["data"])))
    return following, data


def check_result(out: np.ndarray, data: np.ndarray, inputs: Inputs, model_input: np.ndarray | None = None) -> Report:
    """Compares both results with the equation, and `model_input` (bf16 widened) with `out` rounded to bf16."""
    following, prediction = bounded(**inputs)
    check(data, prediction.value, prediction.error, "data")
    if model_input is not None:
        stored = bounds.rounded(bounds.exact(out), "bf16")
        check(model_input, stored.value, stored.error, "model_input", dtype="bf16")
    return check(out, following.value, following.error, "out")


def random_inputs(rng: np.random.Generator, branches: int, images: int, size: int, second: bool = True) -> Inputs:
    """A step in the middle of a run, float32; without `second` the data before is NaN and must not be read."""
    table = np.array([[0.9, 0.7, 0.4, 0.0], [0.8, 0.75, 0.45, -0.2 if second else 0.0]], np.float32)
    made: Inputs = {
        "velocity": rng.standard_normal((branches, images, size)).astype(np.float32),
        "table": table, "step": 1,
        "latent": rng.standard_normal((images, size)).astype(np.float32),
        "data": rng.standard_normal((images, size)).astype(np.float32),
    }  # fmt: skip
    if not second:
        made["data"][:] = np.nan
    if branches == 2:
        made["guidance"] = rng.uniform(1, 8, images).astype(np.float32)
    return made


def examples(rng: np.random.Generator) -> Iterator[tuple[str, Inputs]]:
    """Ordinary and adversarial inputs, by name."""
    yield "usual", random_inputs(rng, 2, 2, 500)
    yield "first-order", random_inputs(rng, 2, 1, 130, second=False)
    yield "one-branch", random_inputs(rng, 1, 3, 77)
    yield "one-number", random_inputs(rng, 2, 1, 1)
    yield "no-images", random_inputs(rng, 2, 0, 16)
    broken = random_inputs(rng, 2, 1, 40)
    broken["velocity"][1, 0, 7] = np.nan
    yield "nan", broken
