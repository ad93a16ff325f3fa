"""manifest.json of a directory of plans: what each was made from, and what it needs. See docs/tensorrt.md."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import ArtefactError
from ..manifest import FILE, GraphFile, from_json, is_plain_name
from .slots import Slot

FORMAT = "spar-plans 2"
TAPS = ".taps"
"""Behind the name of a component: a further plan of it, whose inner tensors are outputs too."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes that a plan is tuned for."""

    name: str
    axes: dict[str, tuple[int, int, int]]  # free axis of the component: least, tuned for, most


@dataclass(frozen=True, slots=True)
class Operand:
    """One input of an operator between two plans: a value of the first plan or of the component, or a weight."""

    name: str  # of the operator's input
    value: str  # name of the value; empty: it is a weight
    slot: Slot | None


@dataclass(frozen=True, slots=True)
class Cut:
    """A component in two plans, with one of our own launches between them."""

    operator: str  # of domain `spar`
    attributes: dict[str, float]
    operands: tuple[Operand, ...]
    result: str  # value that the second plan reads
    rest: GraphFile  # the second plan


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One component."""

    plan: GraphFile
    constants: GraphFile | None  # graph that makes weights from parameters; None: every weight is a parameter
    slots: tuple[Slot, ...]  # weights of the plan
    stripped: bool  # whether the plan waits for them, or holds them
    key: dict[str, str]  # all that the plan depends on, by topic; the same key means the same plan
    gpu: tuple[str, ...]  # compute capabilities that it runs on, as sm86
    profiles: tuple[Profile, ...]
    fixed: dict[str, int]  # axes whose size is the same in every run
    operators: str  # how operators of domain `spar` are computed
    parameters: tuple[str, ...]  # checkpoint tensors behind the weights
    seconds: float  # that the build took
    memory: int  # peak of the building process, bytes
    verified: str  # the GPU on which it was compared with torch, or why it was not
    cut: Cut | None = None  # None: one plan holds the whole component

    @property
    def files(self) -> tuple[GraphFile, ...]:
        """All files of the component."""
        return tuple(file for file in (self.plan, self.constants, self.cut and self.cut.rest) if file)


@dataclass(frozen=True, slots=True)
class PlanManifest:
    """What a directory holds."""

    model: str = ""
    flavour: str = ""  # "rtx" or "tensorrt"
    precision: str = ""
    timing: dict[str, GraphFile] = field(default_factory=dict)  # GPU -> timing cache
    components: dict[str, PlanEntry] = field(default_factory=dict)

    def dumps(self) -> str:
        """The text of manifest.json; the same for the same content."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, sort_keys=True) + "\n"


def component_of(name: str) -> str:
    """The component that a plan is of, with taps or without."""
    return name.removesuffix(TAPS)


def is_plans(directory: Path) -> bool:
    """Whether a directory's manifest is one of plans."""
    try:
        return f'"{FORMAT}"' in (directory / FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def read_plans(directory: Path) -> PlanManifest:
    """The manifest of a directory of plans.

    errors  ArtefactError when it is missing, damaged, of another format, or names a file outside the directory
    """
    path = directory / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        manifest = from_json(PlanManifest, values, "manifest")
        _check(manifest)
    except FileNotFoundError:
        raise ArtefactError(f"{directory}: holds no {FILE}; make one with: {rebuild(directory)}") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read ({error.strerror or error}); {remedy(directory)}") from None
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ArtefactError(f"{path}: {str(error).splitlines()[0]}; {remedy(directory)}") from None
    return manifest


def rebuild(directory: object, component: str | None = None, source: object = "CHECKPOINT") -> str:
    """The command that makes plans."""
    if component is None:
        return f"spar-export tensorrt {source} {directory}"
    taps = " --taps" if component.endswith(TAPS) else ""
    return f"spar-export tensorrt {source} {directory} --components {component_of(component)}{taps}"


def remedy(directory: Path) -> str:
    return f"rebuild with: {rebuild(directory)}"


def _check(manifest: PlanManifest) -> None:
    named = [(f"timing cache of {gpu}", file) for gpu, file in manifest.timing.items()]
    for name, entry in manifest.components.items():
        named += [(f"component {name!r}", file) for file in entry.files]
        for profile in entry.profiles:
            if any(len(span) != 3 for span in profile.axes.values()):
                raise ValueError(f"component {name!r}: profile {profile.name!r} must give three sizes for each axis")
    for owner, file in named:
        if not is_plain_name(file.file):
            raise ValueError(f"{owner} names {file.file!r}, which is not a file of this directory")
