"""What a user asks of a build, and how it reads in a key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spar_engine.backends.plans.manifest import PlanManifest, Profile
from spar_engine.backends.plans.plugins import plugin_library
from spar_engine.components import components
from spar_engine.config import ModelConfig
from spar_engine.errors import ArtefactError, InputError

from . import fp8
from .flavours import Flavour, chosen_gpus, flavour_of
from .profiles import buckets, chosen_buckets, merged, profiles

PRECISIONS = ("bf16", "fp16", "fp8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything besides the model that decides what plans a directory holds."""

    flavour: Flavour
    precision: str
    gpus: tuple[str, ...]
    limits: tuple[int, ...] | None = None  # buckets of prompts; None: those that follow from the model, or one for all
    dynamic: bool = False
    stripped: bool = False
    cut: bool = False  # components at operators that our kernels can do between two plans

    @property
    def plugins(self) -> Path | None:
        """The library of plugins that plans use; None: operators of domain `spar` are decomposed."""
        return plugin_library() if self.flavour.plugins and self.precision != "fp16" else None

    def profiles(self, name: str, config: ModelConfig) -> tuple[Profile, ...]:
        """The profiles of component `name`."""
        longest = config.language.max_positions
        limits = self.limits or buckets(config.query_count, config.vision.tokens, longest)
        found = profiles(components(config)[name], limits, self.dynamic)
        return found if self.limits or not self.flavour.ahead else merged(found)

    def options(self) -> str:
        """The rest, as text."""
        return f"precision={self.precision} dynamic={self.dynamic} stripped={self.stripped} cut={self.cut}"


def settings_of(
    flavour: str = "rtx", precision: str = "bf16", gpu: str | None = None, buckets: str | None = None,
    dynamic: bool = False, stripped: bool = False, longest: int = 1 << 20, cut: bool = False,
) -> Settings:  # fmt: skip
    """Settings from what a user writes; InputError for what does not exist or fit."""
    if precision not in PRECISIONS:
        raise InputError(f"--precision {precision}: is unknown; there are {', '.join(PRECISIONS)}")
    if precision == "fp8" and stripped:
        raise InputError("--precision fp8 --strip: the ranges of inputs are part of the plan and were found with these "
                         "weights; leave out --strip")  # fmt: skip
    found = flavour_of(flavour)
    if cut and (why := "its parser takes our operators as plugins, which need no cut" if found.plugins
                else "our kernels read bf16" if precision == "fp16"
                else "plans without weights are not cut" if stripped else ""):  # fmt: skip
        raise InputError(f"--cut with --flavour {flavour} --precision {precision}"
                         f"{' --strip' if stripped else ''}: {why}; leave out --cut")  # fmt: skip
    return Settings(
        flavour=found, precision=precision, gpus=_able(chosen_gpus(found, gpu), precision, gpu), dynamic=dynamic,
        stripped=stripped, cut=cut, limits=None if buckets is None else chosen_buckets(buckets, longest),
    )  # fmt: skip


def _able(gpus: tuple[str, ...], precision: str, asked: str | None) -> tuple[str, ...]:
    """Those of `gpus` that have the precision; one that was asked for and has not is an InputError."""
    able = tuple(name for name in gpus if precision != "fp8" or name in fp8.GPUS)
    if lacking := [name for name in gpus if name not in able and (asked or not able)]:
        raise InputError(f"--precision fp8: {', '.join(lacking)} has no float8 products; they came with sm89: name "
                         "others with --gpu, or use --precision bf16")  # fmt: skip
    return able


def settings_in(manifest: PlanManifest, directory: Any) -> Settings:
    """The settings that a directory was built with, as its manifest tells them."""
    try:
        entry = next(iter(manifest.components.values()))
        options = dict(part.split("=") for part in entry.key["options"].split())
        limits = {int(profile.name.partition("-")[2]) for entry in manifest.components.values()
                  for profile in entry.profiles if profile.name.startswith("tokens-")}  # fmt: skip
        return Settings(
            flavour=flavour_of(manifest.flavour), precision=options["precision"], gpus=entry.gpu,
            limits=tuple(sorted(limits)) or None, dynamic=options["dynamic"] == "True",
            stripped=options["stripped"] == "True", cut=options["cut"] == "True",
        )  # fmt: skip
    except (KeyError, ValueError, StopIteration, InputError) as error:
        raise ArtefactError(
            f"{directory}: manifest.json does not say how it was built ({error}); build again"
        ) from None
