"""Memory of a request before it runs: which components it calls, at which sizes, and what each of them holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..components import Component
from ..config import ModelConfig

Axes = dict[str, int]


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a component holds: while it is loaded, and while it runs.

    cut  scratch of a run in strips, (count, stages), where the backend can cut it (native: the decoder); least work
         first, and each with less scratch than those before
    """

    weights: int
    scratch: int
    cut: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def running(self) -> int:
        return self.weights + self.scratch

    @property
    def tightest(self) -> int:
        """While it runs, in as many strips as it can be cut into."""
        return self.weights + min([self.scratch, *self.cut.values()])

    def strips(self, room: int) -> tuple[int, int] | None:
        """The cut of least work with which a run fits `room` bytes, None where it fits whole; where none fits, the one
        of least memory."""
        if self.running <= room or not self.cut:
            return None
        fits = (cut for cut, scratch in self.cut.items() if self.weights + scratch <= room)
        return next(fits, list(self.cut)[-1])


@dataclass(frozen=True, slots=True)
class Plan:
    """What one request needs, in bytes. The interpreter and its libraries are not counted.

    components  by name, in the order of the data flow
    values      what the request itself holds: captions, keys and values, latents, pictures
    caches      the most that caches of the engine hold
    budget      of the engine, or None
    """

    task: str
    components: dict[str, Need]
    values: int
    caches: int
    budget: int | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def peak(self) -> int:
        """With all components of the task loaded and none cut, as without a budget."""
        weights = sum(need.weights for need in self.components.values())
        return weights + max(need.scratch for need in self.components.values()) + self.values + self.caches

    @property
    def least(self) -> int:
        """With one component loaded at a time, and none cut."""
        return max(need.running for need in self.components.values()) + self.values + self.caches

    @property
    def least_in_strips(self) -> int:
        """With one component loaded at a time, in as many strips as it can be cut into."""
        return self.largest + self.values + self.caches

    @property
    def largest(self) -> int:
        """The component that needs most while it runs in as many strips as it can be cut into."""
        return max(need.tightest for need in self.components.values())

    @property
    def strips(self) -> dict[str, tuple[int, int]]:
        """Components that this budget cuts, and into what: none while unloading the others is enough."""
        if self.budget is None or self.least <= self.budget:
            return {}
        room = self.budget - self.values - self.caches
        chosen = {name: need.strips(room) for name, need in self.components.items()}
        return {name: cut for name, cut in chosen.items() if cut is not None}

    @property
    def verdict(self) -> str:
        """ "fits", "fits by unloading components between uses", that " and running decoder in 4 strips", or "does not
        fit"."""
        if self.budget is None or self.peak <= self.budget:
            return "fits"
        if self.least_in_strips > self.budget:
            return "does not fit"
        cut = [f"running {name} in {count} strips" for name, (count, _) in self.strips.items()]
        return "fits by " + " and ".join(["unloading components between uses", *cut])

    def __str__(self) -> str:
        rows = [f"{'component':12} {'weights':>9} {'running':>9}  MB"]
        rows += [f"{name:12} {need.weights / 1e6:9.1f} {need.scratch / 1e6:9.1f}"
                 for name, need in self.components.items()]  # fmt: skip
        rows.append(f"values {self.values / 1e6:.1f}, caches up to {self.caches / 1e6:.1f}")
        rows.append(f"peak {self.peak / 1e6:.1f}, {self.least / 1e6:.1f} with one component at a time")
        if self.least_in_strips < self.least:
            rows[-1] += f", {self.least_in_strips / 1e6:.1f} with the decoder in strips"
        if self.budget is not None:
            rows.append(f"budget {self.budget / 1e6:.1f}: {self.verdict}")
        return "\n".join([*rows, *self.notes])


def drawing(
    config: ModelConfig, prompts: list[int], latent: tuple[int, int], steps: int, *, edit: bool, joint: int = 1
) -> dict[str, Axes]:
    """Largest axes of every component when a picture is drawn.

    prompts  tokens of each branch's prompt, image tokens included
    latent   rows and columns of the latent
    joint    requests whose steps may be one run
    """
    image = config.image_tokens if edit else 0
    tokens, branch = max(prompts) + config.query_count, len(prompts)
    grid = {"height": latent[0], "width": latent[1]}
    made = {"vision": _tile(config)} if edit else {}
    return made | {
        "language": {"batch": 1, "tokens": tokens, "past": 0, "rows": tokens - image},
        "condition": {"batch": 1, "rows": tokens - image, "image_tokens": image, "tokens": tokens},
        "context": {"branch": branch, "tokens": tokens},
        "modulation": {"steps": steps},
        "dit": {"batch": joint, "branch": joint * branch, "tokens": tokens, **grid},
        "decoder": {"batch": 1, **grid},
    }


def reconstructing(config: ModelConfig, side: int) -> dict[str, Axes]:
    """The same when a picture of `side` pixels goes through the tokenizer and back."""
    cells = side // (2 * config.vision.patch_size)
    return {"vision": {"tiles": 1, "height": side, "width": side}, "streams": {"batch": 1, "tokens": cells**2},
            "decoder": {"batch": 1, "height": cells, "width": cells}}  # fmt: skip


def asking(config: ModelConfig, prompt: int, answer: int, image: bool) -> dict[str, Axes]:
    """The same when a prompt of so many tokens gets an answer of so many."""
    made = {"vision": _tile(config)} if image else {}
    return made | {"language": {"batch": 1, "tokens": prompt, "past": answer, "rows": 1}, "lm_head": {"batch": 1}}


def values(config: ModelConfig, specs: dict[str, Component], runs: dict[str, Axes], grown: float = 1.5) -> int:
    """Bytes of what passes between the components: every output once, growing keys and values with their room."""
    total = 0
    for name, axes in runs.items():
        sizes = specs[name].sizes | axes | _derived(config, name, axes)
        for tensor, spec in specs[name].outputs.items():
            each = 4 * prod(axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes)
            total += int(each * grown) if tensor in ("keys", "values") else each
    return total


def _tile(config: ModelConfig) -> Axes:
    return {"tiles": 1, "height": config.vision.image_size, "width": config.vision.image_size}


def _derived(config: ModelConfig, name: str, axes: Axes) -> Axes:
    """Axes of outputs that no input has."""
    if name == "vision":
        merged = 2 * config.vision.patch_size
        return {"tokens": axes["height"] // merged * (axes["width"] // merged)}
    if name == "language":
        return {"total": axes["tokens"] + axes["past"]}
    if name == "decoder":
        return {f"out_{side}": axes[side] * config.decoder.upscale for side in ("height", "width")}
    return {}


def need(backend: Any, name: str, axes: Axes) -> Need:
    """What a component of a backend that has `memory` holds, cut too where the backend has `strips`."""
    weights, scratch = backend.memory(name, axes)
    cut: dict[tuple[int, int], int] = {}
    for each in backend.strips(name, axes) if hasattr(backend, "strips") else ():
        size = backend.memory(name, axes, each)[1]
        if size < min([scratch, *cut.values()]):
            cut[each] = size
    return Need(weights, scratch, cut)
