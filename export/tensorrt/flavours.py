"""The two flavours: which package each is, what it builds for, and what it cannot do."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from spar_engine.errors import InputError, MissingDependency


@dataclass(frozen=True, slots=True)
class Flavour:
    """A builder and its runtime."""

    name: str
    package: str
    install: str  # how to get it
    plugins: bool  # whether its parser takes plugin layers
    ahead: tuple[str, ...]  # GPUs that it builds for without having one; none: for the GPU of this machine only

    def module(self) -> Any:
        """The Python package; MissingDependency with the way to get it."""
        if importlib.util.find_spec(self.package) is None:
            raise MissingDependency(f"flavour {self.name!r} needs the package {self.package}; {self.install}")
        try:
            return importlib.import_module(self.package)
        except (ImportError, OSError) as error:
            raise MissingDependency(
                f"the package {self.package} does not load ({str(error).splitlines()[0]}); {self.install}"
            ) from None


FLAVOURS = {
    "rtx": Flavour("rtx", "tensorrt_rtx", "pip install 'spar-engine[tensorrt]'", False,
                   ("sm80", "sm86", "sm89", "sm120")),
    "tensorrt": Flavour("tensorrt", "tensorrt", "pip install tensorrt-cu13 on the machine with the GPU", True, ()),
}  # fmt: skip


def flavour_of(name: str) -> Flavour:
    if name not in FLAVOURS:
        raise InputError(f"flavour {name!r} is unknown; there are {', '.join(FLAVOURS)}")
    return FLAVOURS[name]


def chosen_gpus(flavour: Flavour, asked: str | None) -> tuple[str, ...]:
    """The GPUs to build for, as `sm` numbers in rising order.

    asked   names separated by commas; None: all that the flavour builds for ahead of time, or the one of this machine
    errors  InputError for a name that the flavour does not know
    """
    if asked is None:
        return flavour.ahead or (this_gpu(),)
    names = tuple(dict.fromkeys(name.strip().lower() for name in asked.split(",")))
    known = flavour.ahead or (this_gpu(),)
    if unknown := [name for name in names if name not in known]:
        where = "builds ahead of time for" if flavour.ahead else "builds for the GPU of this machine only, which is"
        raise InputError(f"--gpu {unknown[0]}: flavour {flavour.name} {where} {', '.join(known)}")
    return tuple(sorted(names, key=lambda name: int(name.removeprefix("sm"))))


def this_gpu() -> str:
    """Compute capability of the first GPU, as `sm90`; MissingDependency without a driver."""
    from spar_engine.backends.plans.device import capability

    return capability()
