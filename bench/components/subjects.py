"""A component on a backend, as something that can be timed."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..harness.subject import Arrays, Subject, nudged
from ..harness.synthetic import Opened
from ..peers.backend import is_ours, open_subject_backend
from .oracle import ComponentOracle
from .reference import newest, open_weights
from .works import Work, inputs_of, travelling, work_named

AHEAD = 24  # tokens decoded one after another before the cache is made anew


class ComponentSubject(Subject):
    """One call of a component. What only travels between calls (cross keys, a cache) is made by the same backend before
    the clock starts, and stays in the backend's own form."""

    def __init__(self, config: Any, work: Work, backend: Any, seeds: tuple[int, ...]):
        self.config, self.work, self.backend = config, work, backend
        self.base = {seed: inputs_of(config, work, seed) for seed in seeds}
        self.given = {name: value.copy() for name, value in self.base[seeds[0]][0].items()}
        self.travels: dict[int, dict[str, Any]] = {}
        self.result: dict[str, Any] = {}
        self.seed = seeds[0]

    def fill(self, slot: int, seed: int, nudge: int | None = None) -> None:
        inputs, earlier = self.base[seed]
        self.seed = seed
        for name, value in inputs.items():
            np.copyto(self.given[name], value)
            if nudge is not None and value.dtype.kind == "f" and value.size > 1:
                nudged(value.reshape(-1), self.given[name].reshape(-1), nudge)
        if self.work.before is not None and seed not in self.travels:
            self.travels[seed] = travelling(self.work, self.backend.run(self.work.before, earlier))

    def run(self, slot: int) -> None:
        self.result = self.backend.run(self.work.component, self.given | self.travels.get(self.seed, {}))

    def outputs(self, slot: int) -> Arrays:
        return newest(self.work, {name: _array(value) for name, value in self.result.items()})

    def close(self) -> None:
        self.result, self.travels = {}, {}
        self.backend.close()


class DecodeSubject(ComponentSubject):
    """One token after another: each call continues the cache that the last one grew, as an answer does.

    A checked call, which has no nudge, starts from a fresh cache, and so does every call after AHEAD tokens."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.ahead = AHEAD

    def fill(self, slot: int, seed: int, nudge: int | None = None) -> None:
        if nudge is None or self.ahead >= AHEAD or seed != self.seed or not self.result:
            self.travels.clear()
            super().fill(slot, seed, nudge)
            self.ahead = 0
            return
        travels = travelling(self.work, self.result)
        super().fill(slot, seed, nudge)
        self.travels[seed] = travels

    def run(self, slot: int) -> None:
        super().run(slot)
        self.ahead += 1


def _array(value: Any) -> np.ndarray:
    """A backend's own value as float32."""
    if hasattr(value, "detach"):
        value = value.detach().float().cpu().numpy()
    return np.asarray(value)


def open_subject(spec: dict[str, Any]) -> Opened:
    """`source`, `random`, `work`, `sizes`, `subject`, `threads`, `reference` (the file), `seeds`."""
    weights = open_weights(spec["source"], spec["random"])
    work = work_named(weights.config, spec["work"], **spec["sizes"])
    backend = open_subject_backend(spec["subject"], weights, spec["threads"])
    backend.load(work.component)
    kind = DecodeSubject if work.name == "decode" else ComponentSubject
    subject = kind(weights.config, work, backend, tuple(spec["seeds"]))
    precision = spec["subject"].rpartition("-")[2]
    oracle = ComponentOracle(weights.config, work, spec["reference"], precision, is_ours(spec["subject"]))
    return Opened(subject, oracle, {})
