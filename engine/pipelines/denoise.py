"""From noise to a latent picture, under one or two captions."""

from __future__ import annotations

import time
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from ..samplers import Sampler, guide
from .call import Call, Offer, Pipeline, Step
from .parts import Parts


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Cross-attention keys and values of every block, for all guidance branches of one prompt (E1)."""

    cross_keys: np.ndarray  # [blocks, branches, heads, tokens, head_dim]
    cross_values: np.ndarray
    lengths: np.ndarray  # [branches] valid tokens of each branch


def stack(captions: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Captions [1, tokens, width] as one array [branches, longest, width], zero after their ends, and their lengths."""
    lengths = np.array([caption.shape[1] for caption in captions], np.int64)
    rest = [np.zeros((1, lengths.max() - length, captions[0].shape[2]), np.float32) for length in lengths]
    ended = [np.concatenate(pair, axis=1) if pair[1].size else pair[0] for pair in zip(captions, rest, strict=True)]
    return np.concatenate(ended), lengths


def context(parts: Parts, captions: list[np.ndarray], key: Hashable | None = None) -> Pipeline[Context]:
    """Keys and values for `captions`, each [1, tokens, caption_width], unconditional first.

    key  names them for later requests, the keys of all captions; None keeps nothing
    """
    stacked, lengths = stack(captions)
    out = yield Call("context", {"caption": stacked})
    found = Context(out["cross_keys"], out["cross_values"], lengths)
    if key is not None:
        parts.contexts.put(key, found)
    return found


def tables(parts: Parts, timesteps: np.ndarray) -> Pipeline[tuple[np.ndarray, np.ndarray]]:
    """AdaLN vectors of every block and of the head for all steps (E3), kept for later requests."""
    key = tuple(timesteps.tolist())
    found = parts.schedules.get(key)
    if found is None:
        out = yield Call("modulation", {"timesteps": timesteps.astype(np.float32)})
        found = out["modulation"], out["final_modulation"]
        parts.schedules.put(key, found)
    return found


def denoise(
    parts: Parts, where: Context, noise: np.ndarray, sampler: Sampler, guidance_scale: float, image: int = 0
) -> Pipeline[np.ndarray]:
    """Run a fresh sampler from `noise` [1, channels, height, width] float32; returns the DiT's latent, same shape.

    With two branches in `where` they are combined by `guidance_scale`; with one it is followed alone (E22).
    """
    made = yield from tables(parts, sampler.timesteps)
    return (yield from _steps(where, noise, sampler, guidance_scale, image, *made))


def _steps(
    where: Context, noise: np.ndarray, sampler: Sampler, guidance_scale: float, image: int, modulation, final
) -> Pipeline[np.ndarray]:
    branches = np.zeros(len(where.lengths), np.int64)
    latent = noise
    for index in range(len(sampler)):
        begin = time.perf_counter()
        out = yield Call("dit", {
            "latent": latent, "modulation": modulation[index : index + 1],
            "final_modulation": final[index : index + 1], "branches": branches,
            "cross_keys": where.cross_keys, "cross_values": where.cross_values, "lengths": where.lengths,
        })  # fmt: skip
        velocity = out["velocity"].astype(np.float32, copy=False)
        if len(branches) == 2:
            velocity = guide(velocity, guidance_scale)
        latent = sampler.step(index, latent, velocity)
        yield Step(index, len(sampler), image, latent, sampler.expected, time.perf_counter() - begin)
    return latent


def draw(
    parts: Parts, where: Context, noise: np.ndarray, sampler: Sampler, guidance_scale: float, image: int = 0
) -> Pipeline[np.ndarray]:
    """From noise to a picture [1, 3, H, W] in about [-1, 1]: in one run where the backend offers it, else step by step.

    The run takes the place of every step and of the decoder, so that a GPU never waits for the host in between."""
    modulation, final = yield from tables(parts, sampler.timesteps)
    plan = sampler.plan
    whole = yield Offer("image", {
        "latent": noise, "modulation": modulation, "final_modulation": final,
        "table": np.stack((plan.sigmas[:-1], plan.a, plan.b, plan.c), axis=1),
        "guidance": np.array([guidance_scale], np.float32), "cross_keys": where.cross_keys,
        "cross_values": where.cross_values, "lengths": where.lengths,
    })  # fmt: skip
    if whole is not None:
        return whole["image"]
    latent = yield from _steps(where, noise, sampler, guidance_scale, image, modulation, final)
    return (yield from decode(parts, latent / np.float32(parts.config.latent_scale)))


def decode(parts: Parts, latent: np.ndarray) -> Pipeline[np.ndarray]:
    """A tokenizer latent [1, channels, h, w] to a picture [1, 3, H, W], nominally in [-1, 1]."""
    return (yield Call("decoder", {"latent": latent}))["image"]
