"""The sizes that a plan is made for: fixed axes, and optimization profiles over the free ones.

Everything follows from the component's spec. Batch and picture sizes are fixed at their usual value, so that positions
and shapes are constants of the plan; `dynamic` leaves them free. Lengths of prompts come in buckets, one profile each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from spar_engine.backends.plans.manifest import Profile
from spar_engine.components import Component
from spar_engine.errors import InputError

PROMPT = ("language", "condition", "context", "dit")
"""Components that see a prompt."""
FIXED = ("batch", "height", "width")
MOST = {"tiles": 13, "steps": 100, "branch": 2}
"""Largest size in a plan, where the component itself would take more."""


def buckets(queries: int, image: int, longest: int) -> tuple[int, ...]:
    """Largest prompt of each bucket: a short and a long request, then editing ones, which also hold a picture.

    queries  latent queries of the model
    image    tokens of a picture
    longest  what the language model takes
    """
    sizes = (queries + 32, queries + 96, queries + image + 64, queries + image + 256)
    return tuple(sorted({min(size, longest) for size in sizes}))


def chosen_buckets(asked: str, longest: int) -> tuple[int, ...]:
    """Buckets as a user writes them, `288,352`; InputError unless they rise and the model takes them."""
    try:
        sizes = tuple(int(part) for part in asked.split(","))
    except ValueError:
        raise InputError(f"--buckets {asked}: must be whole numbers, as in 288,352") from None
    if not sizes or sizes[0] < 1 or sizes[-1] > longest or any(a >= b for a, b in pairwise(sizes)):
        raise InputError(f"--buckets {asked}: must rise, from at least 1 to at most {longest}")
    return sizes


def fixed_sizes(component: Component, dynamic: bool) -> dict[str, int]:
    """Axes that are the same in every run of the plan."""
    if component.name == "lm_head":
        return {}
    axes = [axis for axis in FIXED if axis in component.ranges and (axis == "batch" or not dynamic)]
    return {axis: component.ranges[axis][1] for axis in axes}


def profiles(component: Component, limits: Sequence[int], dynamic: bool) -> tuple[Profile, ...]:
    """The profiles of a plan, in its order.

    limits   largest prompt of each bucket, rising
    dynamic  also one for every size of picture and prompt that the component takes
    """
    fixed = fixed_sizes(component, dynamic)
    usual = fixed_sizes(component, False)
    spans = {axis: (least, mid, min(most, MOST.get(axis, most)))
             for axis, (least, mid, most) in component.ranges.items() if axis not in fixed}  # fmt: skip
    static = spans | {axis: (size, size, size) for axis, size in usual.items() if axis in spans}
    made = [Profile("usual", static)]
    if component.name in PROMPT:
        made = [Profile(f"tokens-{high}", static | _prompt(static, low, high)) for low, high in pairwise((0, *limits))]
    if component.name == "language":  # one token after a cache
        one = (1, 1, 1)
        made.append(Profile("decode", static | {"tokens": one, "rows": one, "past": (1, limits[-1], spans["past"][2])}))
    return (*made, Profile("dynamic", spans)) if dynamic else tuple(made)


def _prompt(spans: dict[str, tuple[int, int, int]], low: int, high: int) -> dict[str, tuple[int, int, int]]:
    """Sizes for prompts of more than `low` and at most `high` tokens."""
    sizes = {"tokens": (low + 1, high, high), "rows": (1, high, high), "image_tokens": (0, 0, high), "past": (0, 0, 0)}
    return {axis: size for axis, size in sizes.items() if axis in spans}


def merged(found: tuple[Profile, ...]) -> tuple[Profile, ...]:
    """One profile that takes what any of `found` takes, tuned for the first.

    TensorRT-RTX keeps a copy of the weights for every profile of a plan, and tunes its kernels for the sizes that it
    meets at run time, so there one profile is the better choice.
    """
    if len(found) == 1:
        return found
    spans = {axis: (min(profile.axes[axis][0] for profile in found), found[0].axes[axis][1],
                    max(profile.axes[axis][2] for profile in found)) for axis in found[0].axes}  # fmt: skip
    return (Profile("all", spans),)
