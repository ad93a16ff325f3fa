"""The TensorRT backend: plans of either flavour, made by `spar-export tensorrt`. It has not run on a GPU yet."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..components import Component, components
from ..errors import ArtefactError, BackendError, InputError
from .manifest import FILE
from .plans.device import Device
from .plans.lane import Lane
from .plans.launches import Step, kernels
from .plans.library import engine_of, library, refit
from .plans.loop import TABLES, SamplerLoop, rows
from .plans.manifest import TAPS, PlanEntry, read_plans
from .plans.part import EngineStep, Part
from .plans.plugins import load_plugins
from .plans.reader import Plans
from .plans.slots import Filling, Slot
from .seam import STAYS, arrays


class TensorRTBackend:
    """Components as TensorRT engines.

    weights    a checkpoint or random weights
    plans      directory made by `spar-export tensorrt`
    precision  None, or that of the plans, to be sure of it
    device     number of the GPU
    lanes      runs that may be on the GPU at once; each has a scratch arena
    fallback   name of a backend that runs a component while it has no plan that fits; None: that is an ArtefactError
    errors     MissingDependency without a driver or without the library of the plans; ArtefactError for plans that do
               not fit; BackendError else
    """

    name = "tensorrt"

    def __init__(self, weights: Any, *, plans: str | Path | None = None, precision: str | None = None, device: int = 0,
                 lanes: int = 1, fallback: str | None = None):  # fmt: skip
        if plans is None:
            raise BackendError("tensorrt: give plans=DIRECTORY, made by: spar-export tensorrt CHECKPOINT DIRECTORY")
        if isinstance(lanes, bool) or not isinstance(lanes, int) or not 1 <= lanes <= 16:
            raise BackendError(f"tensorrt: lanes={lanes!r} must be a whole number from 1 to 16")
        if fallback not in (None, "cuda", "native", "onnxruntime", "torch"):
            raise BackendError(f"tensorrt: fallback={fallback!r} must be cuda, native, onnxruntime, torch or None")
        self._seen = _stamp(Path(plans))
        manifest = read_plans(Path(plans))
        if precision not in (None, manifest.precision):
            raise BackendError(f"tensorrt: precision={precision!r}, but the plans in {plans} are {manifest.precision}; "
                               f"leave it out, or build others with --precision {precision}")  # fmt: skip
        self._trt = library(manifest.flavour)
        self._device = Device(device)
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)
        version = f"{self._trt.__name__} {self._trt.__version__}"
        self._plans = Plans(plans, weights, version, self._device.capability)
        self.weights, self.precision, self._width = weights, manifest.precision, lanes
        self._specs = components(weights.config)
        self._fallback, self._reserve = fallback, None
        self._parts: dict[str, Part] = {}
        self._lanes: list[Lane] = []  # free ones
        self._made = 0  # lanes in all
        self._arena = 0  # scratch that every lane has
        self._free = threading.Condition(threading.RLock())
        self._closed = False

    def load(self, component: str, taps: bool = False) -> Part:
        """The engine of one component, from a verified plan; its weights are put in where the plan waits for them."""
        with self._free:
            if self._closed:
                raise BackendError("tensorrt: this backend was closed; make a new one")
            if component not in self._specs:
                raise BackendError(f"tensorrt: component {component!r} is unknown; there are {list(self._specs)}")
            name = component + TAPS if taps else component
            if name not in self._parts:
                self._device.enter()
                entry = self._plans.entry(name)
                if entry.operators.startswith("plugins"):
                    load_plugins(self._trt, name, entry.key.get("kernels", "unknown"))
                self._add(self._part(name, entry), self._specs[component])
            return self._parts[name]

    def refit(self, weights: Any) -> None:
        """Give loaded components other weights of the same shapes, between two runs.

        weights  a checkpoint, or `with_loras` of one
        errors   BackendError for plans that hold their weights: they were built without --strip
        """
        with self._all_lanes():
            for name, part in self._parts.items():
                if not part.entry.stripped:
                    raise BackendError(f"tensorrt: the plan of {name} holds its weights; build it with --strip")
            for name, part in self._parts.items():
                self._fill(name, part.engines[0].engine, part.entry, weights)
            self.weights = self._plans.weights = weights

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        """Outputs of one component by name, float32; with `taps` also its inner tensors, from a plan built with --taps.

        Safe from any thread: each run has a lane to itself. A plan that was built meanwhile takes over between two
        runs. "image" is a whole picture: the inputs of `dit` for one latent with the tables of all steps, `table`
        [steps, 4] (sigma, a, b, c) and `guidance` [1]."""
        self._swap()
        if component == "image":
            return self._whole(inputs)
        try:
            part = self.load(component, taps)
        except ArtefactError as error:
            if self._fallback is None:
                raise
            return self._instead(component, error).run(component, arrays(inputs), taps)
        self._specs[component].check(inputs)
        self._check_fixed(component, part, inputs)
        with self._lane() as lane:
            return lane.run(part, inputs, STAYS)

    @property
    def offers(self) -> frozenset[str]:
        """What a pipeline may ask for instead of its single steps: a whole picture, where there is a plan of the DiT
        and our kernels are built, which make the steps between its runs."""
        able = "dit" in self._plans.manifest.components and self._fallback is None
        return frozenset(("image",) if able and importlib.util.find_spec("spar_engine._cuda") else ())

    def unload(self, component: str) -> None:
        """Free one component; its next run loads it again. Waits for runs that have begun."""
        with self._all_lanes():
            for name in (component, component + TAPS):
                self._drop(name)

    def close(self) -> None:
        """Free everything; a later run is refused."""
        with self._all_lanes():
            while self._lanes:
                self._lanes.pop().close()
            self._made, self._closed = 0, True
            for name in list(self._parts):
                self._drop(name)
            if self._reserve is not None:
                self._reserve.close()

    def _swap(self) -> None:
        """Let go of engines whose plan was replaced on the disk; while a new one is being written the old one stays."""
        if _stamp(self._plans.directory) == self._seen:
            return
        with self._all_lanes():
            self._seen = _stamp(self._plans.directory)
            try:
                self._plans.manifest = read_plans(self._plans.directory)
            except ArtefactError:
                return
            for name, part in list(self._parts.items()):
                entry = self._plans.manifest.components.get(name)
                if entry is not None and entry.files != part.entry.files:
                    self._drop(name)

    def _instead(self, component: str, why: ArtefactError) -> Any:
        """The backend that runs what has no plan; the reason is said once."""
        with self._free:
            if self._reserve is None:
                from .choose import open_backend

                print(f"tensorrt: {component} runs on {self._fallback}: {why}", file=sys.stderr)
                self._reserve = open_backend(self._fallback, self.weights)
            return self._reserve

    def _drop(self, name: str) -> None:
        """Forget one component, in all lanes."""
        for lane in self._lanes:
            lane.drop(name)
        if (part := self._parts.pop(name, None)) is not None:
            part.close()

    def _part(self, name: str, entry: PlanEntry) -> Part:
        """A component from its verified plans, with its weights."""
        files = [entry.plan] if entry.cut is None else [entry.plan, entry.cut.rest]
        plans = [self._plans.plan(name, file) for file in files]  # all are verified before any is used
        engines = [engine_of(self._trt, self._runtime, name, plan) for plan in plans]
        if entry.stripped:
            self._fill(name, engines[0], entry, self.weights)
        steps = [EngineStep(name, engine, entry, self._trt) for engine in engines]
        if entry.cut is None:
            return Part(name, entry, steps)
        module, slots = kernels(), {one.name: one.slot for one in entry.cut.operands if one.slot is not None}
        filling = self._filling(name, entry, tuple(slots.values()), self.weights)
        weights = {argument: filling.array(slot) for argument, slot in slots.items()}
        return Part(name, entry, [steps[0], Step(name, entry.cut, module, self._device, weights), steps[1]])

    def _whole(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A picture: all steps of the sampler as one captured graph, then the decoder."""
        part, table = self.load("dit"), np.asarray(inputs["table"], np.float32)
        tables = {name: inputs[name] for name in TABLES}
        once = {"branches": np.zeros(len(inputs["lengths"]), np.int64)}
        once |= {name: inputs[name] for name in ("latent", "cross_keys", "cross_values", "lengths")}
        step = once | {name: values[:1] for name, values in tables.items()}
        self._specs["dit"].check(step)
        self._check_fixed("dit", part, step)
        if len(inputs["latent"]) != 1 or any(len(values) != len(table) for values in (*tables.values(), table)):
            raise InputError(f"image: takes one latent, and a row for each of {len(table)} steps in each table; got "
                             f"{len(inputs['latent'])} and {[len(one) for one in tables.values()]}")  # fmt: skip
        loop = SamplerLoop(part, kernels(), {name: values.shape[1:] for name, values in tables.items()})
        once |= {name: rows(values) for name, values in tables.items()}
        once |= {"table": table, "guidance": np.asarray(inputs["guidance"], np.float32)}
        with self._lane() as lane:
            latent = lane.run(loop, once, STAYS)["latent"]
        return self.run("decoder", {"latent": latent / np.float32(self.weights.config.latent_scale)})

    def _check_fixed(self, component: str, part: Part, inputs: dict[str, Any]) -> None:
        """InputError for sizes other than those that are part of the plan."""
        for axis, size in part.entry.fixed.items():
            for name, tensor in self._specs[component].inputs.items():
                if axis in tensor.axes and inputs[name].shape[tensor.axes.index(axis)] != size:
                    raise InputError(f"{component}: `{name}` has {axis}={inputs[name].shape[tensor.axes.index(axis)]}, "
                                     f"the plan was built for {size}; build it with --dynamic")  # fmt: skip

    def _fill(self, component: str, engine: Any, entry: PlanEntry, weights: Any) -> None:
        filling = self._filling(component, entry, entry.slots, weights)
        refit(self._trt, engine, self._logger, self._device, component, entry, filling)

    def _filling(self, component: str, entry: PlanEntry, slots: tuple[Slot, ...], weights: Any) -> Filling:
        constants = None if entry.constants is None else self._plans.plan(component, entry.constants)
        return Filling(slots, weights, constants)

    def _add(self, part: Part, spec: Component) -> None:
        """Take a component in; all lanes get an arena that is large enough for it."""
        wanted = {*spec.inputs, *spec.outputs}
        if missing := sorted(wanted - part.kinds.keys()):
            raise BackendError(f"tensorrt: the plan of {part.name} lacks {missing}; build it again")
        with self._all_lanes():
            if part.scratch > self._arena:
                while self._lanes:
                    self._lanes.pop().close()
                self._made, self._arena = 0, part.scratch
            self._parts[part.name] = part

    @contextmanager
    def _lane(self) -> Iterator[Lane]:
        """A lane for one run; waits where all are taken."""
        with self._free:
            while not self._lanes and self._made >= self._width:
                self._free.wait()
            if self._closed:
                raise BackendError("tensorrt: this backend was closed; make a new one")
            if self._lanes:
                lane = self._lanes.pop()
            else:
                lane = Lane(self._device, self._arena)
                self._made += 1
        try:
            yield lane
        finally:
            with self._free:
                self._lanes.append(lane)
                self._free.notify()

    @contextmanager
    def _all_lanes(self) -> Iterator[None]:
        """Nothing runs in the body."""
        with self._free:
            while len(self._lanes) < self._made:
                self._free.wait()
            self._device.enter()
            yield


def _stamp(directory: Path) -> tuple[int, int, int] | None:
    """What changes when a manifest is replaced; None where there is none."""
    try:
        stat = (directory / FILE).stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
