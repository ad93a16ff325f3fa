"""From a row's description to something that can be timed: our variants, and the peers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness.environment import cpu
from ..harness.subject import Arrays, Subject, nudged
from ..harness.synthetic import Opened
from ..peers.base import peer
from .case import Shape, Work, case, widen
from .oracle import WorkOracle

CALLED = "ours-"  # prefix of subjects that are variants of `spar_engine.ops.<op>`
NATIVE = "native-"  # of those that are kernels of the native backend
OURS = (CALLED, NATIVE)
MOST_SLOTS = 8  # of a short call; together they stay within half of one core's second-level cache


class KernelSubject(Subject):
    """Live buffers of the changing inputs, kept in slots; subclasses say what one call is."""

    def __init__(self, work: Work, wide: bool, seeds: tuple[int, ...]):
        self.base = {seed: work.changing(seed) for seed in seeds}
        if wide:
            self.base = {seed: {name: widen(x) for name, x in drawn.items()} for seed, drawn in self.base.items()}
        first = next(iter(self.base.values()))
        each = sum(array.nbytes for array in first.values()) + work.empty_result().nbytes
        self.slots = int(np.clip(cpu()["caches"].get("L2", 1 << 20) // 2 // each, 1, MOST_SLOTS))
        self.inputs = self.buffers(first)

    def buffers(self, first: Arrays) -> list[Arrays]:
        """Live inputs of every slot."""
        return [{name: array.copy() for name, array in first.items()} for _ in range(self.slots)]

    def fill(self, slot: int, seed: int, nudge: int | None = None) -> None:
        for name, live in self.inputs[slot].items():
            base = self.base[seed][name]
            np.copyto(live, base)
            if nudge is not None:
                nudged(base, live, nudge)


class OwnResults(KernelSubject):
    """Results in arrays of ours, `results`, one a slot."""

    results: list[np.ndarray]

    def live(self, slot: int) -> Arrays:
        return {"out": self.results[slot]}

    def outputs(self, slot: int) -> Arrays:
        return {"out": widen(self.results[slot]).copy()}


class OurVariant(OwnResults):
    """`spar_engine.ops.<op>` with the variant named, into an array of ours."""

    def __init__(self, work: Work, variant: str, seeds: tuple[int, ...]):
        super().__init__(work, wide=False, seeds=seeds)
        self.call = getattr(work.case.module(), work.case.op)
        self.rest = {name: value for name, value in work.inputs(0).items() if name not in work.case.changing}
        self.rest["variant"] = variant
        self.results = [work.empty_result() for _ in range(self.slots)]

    def run(self, slot: int) -> None:
        self.call(**self.inputs[slot], **self.rest, out=self.results[slot])


class NativeKernel(OwnResults):
    """The op as the native backend runs it: weights packed, live buffers in its arena, one call of its kernels."""

    def __init__(self, work: Work, isa: str, threads: int, seeds: tuple[int, ...]):
        self.work, self.isa, self.threads = work, isa, threads
        super().__init__(work, wide=False, seeds=seeds)
        self.call = self.prepared.run
        self.results = [self.prepared.out(slot) for slot in range(self.slots)]

    def buffers(self, first: Arrays) -> list[Arrays]:
        from spar_engine import _native

        case = self.work.case
        constant = {name: x for name, x in self.work.wide(0).items() if name not in case.changing}
        weights = {name: x for name, x in constant.items() if isinstance(x, np.ndarray)}
        self.prepared = _native.Prepared(case.op, sizes=case.sizes(self.work.shape), weights=weights,
                                         dtype=self.work.dtype, isa=self.isa, threads=self.threads,
                                         slots=self.slots)  # fmt: skip
        return [self.prepared.inputs(slot) for slot in range(self.slots)]

    def run(self, slot: int) -> None:
        self.call(slot)


class PeerKernel(KernelSubject):
    """The same op by a library."""

    def __init__(self, work: Work, name: str, threads: int, seeds: tuple[int, ...]):
        module = peer(name).load_kernels()
        super().__init__(work, wide=module.WIDE, seeds=seeds)
        bind = module.kernel(name, work, threads)
        self.bound = [bind(live) for live in self.inputs]

    def run(self, slot: int) -> None:
        self.bound[slot].run()

    def live(self, slot: int) -> Arrays:
        return self.bound[slot].live()

    def outputs(self, slot: int) -> Arrays:
        return self.bound[slot].outputs()


def open_subject(spec: dict[str, Any]) -> Opened:
    """`op`, `sizes`, `dtype`, `subject`, `threads`, `references` (folder of shared exact results)."""
    work = Work(case(spec["op"]), Shape(spec["preset"], tuple(spec["sizes"])), spec["dtype"])
    seeds, name = tuple(spec.get("seeds", (0, 1))), spec["subject"]
    if name.startswith(CALLED):
        subject: Subject = OurVariant(work, name.removeprefix(CALLED), seeds)
    elif name.startswith(NATIVE):
        subject = NativeKernel(work, name.removeprefix(NATIVE), spec["threads"], seeds)
    else:
        subject = PeerKernel(work, name, spec["threads"], seeds)
    return Opened(subject, WorkOracle(work, spec["references"], name.startswith(OURS)), {})
