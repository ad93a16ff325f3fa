"""Builds the plan of one component, or both where it is cut, and says what the manifest is to hold of it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spar_engine.backends.manifest import GraphFile
from spar_engine.backends.plans.manifest import TAPS, Cut, PlanEntry, PlanManifest
from spar_engine.backends.plans.slots import Filling, Slot
from spar_engine.backends.verify import Fault, read_graph
from spar_engine.components import Component
from spar_engine.errors import ArtefactError
from spar_engine.weights import SafetensorsFile, write_safetensors
from spar_engine.weights.dtypes import STORAGE

from .. import publish
from .parity import verified
from .settings import Settings
from .stale import changed, key_now
from .watch import PlanQuiet

REST = ".rest"
"""Behind the name of a component: the file of its second plan, where it is cut."""


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """What happened to one component."""

    name: str
    reasons: list[str]  # why it was built; empty: it was fresh
    seconds: float
    bytes: int  # of the plan
    weights: int  # bytes of the weights that its plans read
    memory: int  # peak of the builder, bytes
    layers: int
    operators: str


@dataclass(frozen=True, slots=True)
class Work:
    """Building one component; its files come to lie in `folder`."""

    weights: Any
    out: Path
    manifest: PlanManifest  # of `out`, as it is now
    folder: Path
    name: str
    component: Component
    settings: Settings
    progress: PlanQuiet
    threads: int | None

    def make(self, before: PlanEntry | None, reasons: list[str]) -> tuple[PlanEntry, dict[str, GraphFile], BuiltPlan]:
        """What the manifest is to say of the component, new timing caches, and what happened."""
        from .graphs import plan_graph

        name, settings, start = self.name, self.settings, time.perf_counter()
        self.progress.begin(name, reasons)
        self.progress.phase("tracing")
        graph = plan_graph(
            self.component, self.weights, settings.precision, plugins=settings.plugins is not None,
            dynamic=settings.dynamic, taps=name.endswith(TAPS), cut=settings.cut,
        )  # fmt: skip
        made = self._entry(graph, before)
        if before is not None and self._only_code(before, made):  # other code that makes the same graph
            entry = dataclasses.replace(before, key=made.key)
            return entry, {}, BuiltPlan(name, reasons, time.perf_counter() - start, 0, 0, 0, 0, entry.operators)
        if graph.operators != "none":
            self.progress.note(name, f"operators of domain spar are {graph.operators}")
        plans, memory, layers, timing = self._build(graph, made)
        seconds = time.perf_counter() - start
        constants = self._constants(graph)
        made = dataclasses.replace(made, plan=plans[0], constants=constants, seconds=round(seconds, 3), memory=memory,
                                   cut=_between(graph, plans))  # fmt: skip
        made = dataclasses.replace(made, verified=self._verified(made))
        size, weights = sum(plan.size for plan in plans), sum(map(_bytes, graph.slots))
        built = BuiltPlan(name, reasons, seconds, size, weights, memory, layers, graph.operators)
        return made, timing, built

    def _entry(self, graph: Any, before: PlanEntry | None) -> PlanEntry:
        settings, name = self.settings, self.name
        profiles = settings.profiles(self.component.name, self.weights.config)
        none = GraphFile("", 0, "")
        entry = PlanEntry(none, None, graph.slots, settings.stripped, {}, settings.gpus, profiles, graph.fixed,
                          graph.operators, graph.parameters, 0.0, 0, "")  # fmt: skip
        key = key_now(name, self.weights, settings, entry) | {"graph": graph.sha256}
        return dataclasses.replace(entry, key=dict(sorted(key.items())))

    def _verified(self, entry: PlanEntry) -> str:
        if self.name.endswith(TAPS):
            return "no, it is for the doctor"
        settings = self.settings
        self.progress.phase("comparing with torch")
        found = verified(self.folder, self.name, entry, self.weights, settings.flavour.name, settings.precision)
        self.progress.note(self.name, f"verified: {found}")
        return found

    def _only_code(self, before: PlanEntry, made: PlanEntry) -> bool:
        """Whether the old plan is the one that would be built, and still there."""
        same = [topic for topic in made.key if before.key.get(topic) == made.key[topic]]
        return set(made.key) - set(same) <= {"code"} and not any(changed(self.out, file) for file in before.files)

    def _build(self, graph: Any, entry: PlanEntry) -> tuple[list[GraphFile], int, int, dict[str, GraphFile]]:
        """Files of the plans, peak memory of a builder, layers in all, timing caches."""
        from .child import run

        plans, memory, layers, timings = [], 0, 0, {}
        for model, suffix in zip(graph.models, ("", REST), strict=False):
            job = self._job(graph, entry, model, self.folder / f"{self.name}{suffix}.plan")
            self.progress.phase("parsing")
            ended = run(job, self.progress.steps)
            shutil.rmtree(self.folder / "work")
            plans.append(described(Path(job["plan"])))
            memory, layers = max(memory, ended.memory), layers + ended.found["layers"]
            if job["timing"] is not None:
                timings = {"-".join(self.settings.gpus): described(Path(job["timing"]))}
        return plans, memory, layers, timings

    def _job(self, graph: Any, entry: PlanEntry, model: Any, plan: Path) -> dict[str, Any]:
        """What the builder is to do for one plan."""
        name, work = self.name, self.folder / "work"
        work.mkdir()
        (work / "graph.onnx").write_bytes(model.SerializeToString(deterministic=True))
        gpu = "-".join(self.settings.gpus)
        timing = None if self.settings.flavour.ahead else self.folder / f"timing-{gpu}.cache"
        if timing is not None:
            self._last_timing(gpu, timing)
        return {
            "component": name, "plugins": None if self.settings.plugins is None else str(self.settings.plugins),
            "flavour": self.settings.flavour.name, "graph": str(work / "graph.onnx"),
            "weights": self._places(graph, model, work), "gpu": list(self.settings.gpus),
            "flags": ["STRIP_PLAN", "REFIT_IDENTICAL"] if self.settings.stripped else [],
            "profiles": [self._spans(graph, model, profile) for profile in entry.profiles],
            "plan": str(plan),
            "timing": None if timing is None else str(timing), "threads": self.threads or os.cpu_count() or 1,
        }  # fmt: skip

    def _last_timing(self, gpu: str, place: Path) -> None:
        """Start from the timings that were measured before, if they are still what the manifest says."""
        try:
            data = timing_cache(self.out, self.manifest, gpu)
        except ArtefactError as error:
            self.progress.note(self.name, f"{error}; kernels are timed anew")
        else:
            place.write_bytes(data)

    def _places(self, graph: Any, model: Any, work: Path) -> list[list[Any]]:
        """Where the builder finds each weight: in the checkpoint as it is, or converted in a file of its own."""
        constants = None if graph.constants is None else graph.constants.SerializeToString()
        read = {tensor.name for tensor in model.graph.initializer}
        slots = tuple(slot for slot in graph.slots if slot.name in read)
        filling = Filling(slots, self.weights, constants)
        found = {slot.name: filling.place(slot) for slot in slots}
        rest = [slot for slot in slots if found[slot.name] is None]
        if rest:
            self.progress.phase("writing weights")
            path = work / "weights.safetensors"
            write_safetensors(
                path, [(slot.name, slot.dtype, slot.shape, lambda slot=slot: filling.array(slot)) for slot in rest]
            )
            infos = SafetensorsFile(path).tensors
            found |= {slot.name: (path, infos[slot.name].begin) for slot in rest}
        return [[slot.name, str(found[slot.name][0]), found[slot.name][1], _bytes(slot)] for slot in slots]

    def _shapes(self, profile: Any) -> dict[str, list[list[int]]]:
        """Least, usual and largest shape of every input in a profile."""
        spec = self.component
        sizes = {axis: (size,) * 3 for axis, size in spec.sizes.items()}
        sizes |= {axis: (usual,) * 3 for axis, (_, usual, _) in spec.ranges.items()} | profile.axes
        spans = {name: [(axis,) * 3 if isinstance(axis, int) else sizes[axis] for axis in tensor.axes]
                 for name, tensor in spec.inputs.items()}  # fmt: skip
        return {name: [[span[which] for span in axes] for which in range(3)] for name, axes in spans.items()}

    def _spans(self, graph: Any, model: Any, profile: Any) -> dict[str, list[list[int]]]:
        """`_shapes` for the inputs of one plan, which may be inner values of the component."""
        given = self._shapes(profile)
        if graph.halves is not None and model is graph.halves.after:
            inner = [graph.halves.between({name: spans[which] for name, spans in given.items()}) for which in range(3)]
            given |= {name: [shapes[name] for shapes in inner] for name in inner[0]}
        return {value.name: given[value.name] for value in model.graph.input}

    def _constants(self, graph: Any) -> GraphFile | None:
        if graph.constants is None:
            return None
        path = self.folder / f"{self.name}.constants.onnx"
        publish.write_file(path, graph.constants.SerializeToString(deterministic=True))
        return described(path)


def timing_cache(directory: Path, manifest: PlanManifest, gpu: str) -> bytes:
    """The timing cache of a GPU, hashed as it was read; nothing where there is none yet.

    errors  ArtefactError for one that is not what the manifest describes
    """
    record = manifest.timing.get(gpu)
    if record is None:
        return b""
    try:
        return read_graph(directory, record)
    except Fault as fault:
        raise ArtefactError(f"{directory}: timing cache of {gpu}: {fault}") from None


def described(path: Path) -> GraphFile:
    """A file as the manifest lists it."""
    with path.open("rb") as file:
        return GraphFile(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _between(graph: Any, plans: list[GraphFile]) -> Cut | None:
    """What lies between two plans, as the manifest says it."""
    halves = graph.halves
    if halves is None:
        return None
    return Cut(halves.operator, halves.attributes, graph.operands, halves.result, plans[1])


def _bytes(slot: Slot) -> int:
    return math.prod(slot.shape) * STORAGE[slot.dtype].itemsize
