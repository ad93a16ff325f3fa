"""What each component is asked in practice: one row of the table each. Prefill and decoding are two works of one
component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from spar_engine.components import components
from spar_engine.config import ModelConfig
from spar_engine.errors import InputError

PROMPT = 32  # tokens of a usual prompt beside the latent queries
PAST = 300  # tokens before the one that is decoded
STEPS = 20

Inputs = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Work:
    """One component at one size.

    sizes   free axes of the component's spec; those not named have their usual size
    calls   how often it runs in one picture with guidance and 20 steps, the unconditional branch being kept
    before  component that makes the values which only travel (cross keys, cache), from inputs of its own
    """

    name: str
    component: str
    sizes: dict[str, int]
    calls: float = 0.0
    before: str | None = None

    def sizes_asked(self) -> dict[str, int]:
        return self.sizes

    def what(self) -> dict[str, Any]:
        return {"component": self.name, "sizes": self.sizes}

    def options(self) -> str:
        return f"--component {self.name} --sizes {','.join(f'{axis}={size}' for axis, size in self.sizes.items())}"


def works(config: ModelConfig) -> dict[str, Work]:
    """By name, in the order of the data flow. Every component has at least one."""
    prompt, side = config.query_count + PROMPT, config.dit.sample_size
    pixels = config.vision.image_size
    listed = (
        Work("vision", "vision", {"tiles": 1, "height": pixels, "width": pixels}),
        Work("prefill", "language", {"tokens": prompt, "rows": prompt, "past": 0}, calls=1),
        Work("decode", "language", {"tokens": 1, "rows": 1, "past": PAST}, before="language"),
        Work("lm_head", "lm_head", {"batch": 1}),
        Work("condition", "condition", {"tokens": prompt, "rows": prompt, "image_tokens": 0}, calls=1),
        Work("context", "context", {"branch": 2, "tokens": prompt}, calls=1),
        Work("modulation", "modulation", {"steps": STEPS}),
        Work("dit", "dit", {"batch": 1, "branch": 2, "height": side, "width": side, "tokens": prompt}, calls=STEPS,
             before="context"),
        Work("streams", "streams", {"tokens": config.image_tokens}),
        Work("decoder", "decoder", {"batch": 1, "height": side, "width": side}, calls=1),
    )  # fmt: skip
    return {work.name: work for work in listed}


def work_named(config: ModelConfig, name: str, **sizes: int) -> Work:
    """The work of that name with some sizes replaced; unknown names and sizes are InputErrors."""
    known = works(config)
    if name not in known:
        raise InputError(f"component {name!r} is unknown; there are {', '.join(known)}")
    work = known[name]
    if wrong := sizes.keys() - work.sizes.keys():
        raise InputError(f"{name}: size {', '.join(sorted(wrong))} is unknown; it has {', '.join(work.sizes)}")
    merged = work.sizes | sizes
    if "rows" in merged and "rows" not in sizes and work.name != "decode":
        merged["rows"] = merged["tokens"]
    return Work(work.name, work.component, merged, work.calls, work.before)


def inputs_of(config: ModelConfig, work: Work, seed: int) -> tuple[Inputs, Inputs]:
    """Inputs of the call, and of the call before it that makes what travels ({} without one).

    Floats are standard normal. A branch more than pictures: guidance branches of picture 0."""
    rng = np.random.default_rng((seed, 77))
    spec = components(config)[work.component]
    made = spec.example(rng, **work.sizes)
    if "timesteps" in made:  # the example's are always the same
        made["timesteps"] = np.sort(rng.uniform(1, 999, made["timesteps"].shape))[::-1].astype(np.float32)
    if work.before is None:
        return made, {}
    if work.before == "context":
        caption = rng.standard_normal((work.sizes["branch"], work.sizes["tokens"], config.dit.caption_width),
                                      dtype=np.float32)  # fmt: skip
        return {name: value for name, value in made.items() if not name.startswith("cross_")}, {"caption": caption}
    earlier = spec.example(rng, tokens=work.sizes["past"], rows=1, past=0)
    earlier["rows"][:] = work.sizes["past"] - 1
    return {name: value for name, value in made.items() if not name.startswith("past_")}, earlier


def travelling(work: Work, made: dict[str, Any]) -> dict[str, Any]:
    """Outputs of the call before, under the names that the call knows them by."""
    if work.before == "language":
        return {"past_keys": made["keys"], "past_values": made["values"]}
    return {name: made[name] for name in ("cross_keys", "cross_values")}
