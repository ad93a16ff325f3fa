"""Nothing is timed that has not passed here: right everywhere, on fresh inputs, done when it says it is done."""

from __future__ import annotations

import sys
import time

import numpy as np

from .subject import Arrays, BenchError, Check, Oracle, OutputError, Subject, poison_of

SEEDS = (0, 1)
SENTINELS = 64  # elements of each result looked at in the very moment a call claims to be done
MOST_CALLS = 6  # checked calls of a quick subject
SLOW = 0.3  # seconds of a call from which on a subject is called once a seed
DRAIN_SHARE = 0.05  # of the call: a device that stays busy for longer was not waited for
DRAIN_LEAST = 20e-6  # seconds that waiting for an idle device may take


def check_inputs(name: str, oracle: Oracle, seeds: tuple[int, ...] = SEEDS) -> None:
    """Refuse inputs that hide mistakes: constant, not finite, or such that one seed's answer passes for another's."""
    for seed in seeds:
        for key, array in oracle.inputs(seed).items():
            values = np.asarray(array)
            if values.dtype.kind in "iub":
                continue
            values = values.astype(np.float64)
            if not np.isfinite(values).all():
                raise BenchError(f"{name}: input `{key}` of seed {seed} is not finite; use finite random values")
            if values.size > 1 and np.ptp(values) == 0:
                raise BenchError(f"{name}: input `{key}` of seed {seed} is constant ({values.flat[0]:g}) and would "
                                 "hide a kernel that skips work; use random values")  # fmt: skip
    first, second = seeds[0], seeds[1]
    if passed(oracle.errors(oracle.expected(second), first)):
        raise BenchError(f"{name}: the answer for seed {second} passes as the answer for seed {first}, so the check "
                         "proves nothing; use inputs of ordinary size that differ between seeds")  # fmt: skip


def passed(errors: dict[str, OutputError]) -> bool:
    return all(error.share <= 1 for error in errors.values())


def judge(name: str, oracle: Oracle, outputs: Arrays, seed: int, when: str) -> dict[str, OutputError]:
    """Errors of `outputs`, or a BenchError that says which one is out of bounds and by how much."""
    errors = oracle.errors(outputs, seed)
    for key, error in errors.items():
        if not error.share <= 1:
            raise BenchError(f"{name}: output `{key}` is wrong {when}: largest error {error.max_abs:.3g} is "
                             f"{error.share:.3g} times what is allowed ({oracle.tolerance})"
                             + (f"; {error.detail}" if error.detail else ""))  # fmt: skip
    return errors


def verify(name: str, subject: Subject, oracle: Oracle, seeds: tuple[int, ...] = SEEDS) -> Check:
    """Check `subject` against `oracle`; BenchError says what is wrong with it.

    Every checked call starts from poisoned results and from inputs that differ from those before, in the same buffers:
    a call that does half its work leaves poison, and one that keeps results answers the question before. Each of them
    must be done when it says so. Quick subjects are called more often."""
    check_inputs(name, oracle, seeds)
    worst: dict[str, OutputError] = {}
    took = 0.0
    for call in range(MOST_CALLS):
        if call >= len(seeds) and took > SLOW / (call - len(seeds) + 1):
            break
        seed = seeds[call % len(seeds)]
        outputs, took = finished_call(name, subject, 0, seed)
        when = "on its first call" if call == 0 else "when its inputs change in place (a result kept between calls?)"
        for key, error in judge(name, oracle, outputs, seed, when).items():
            if key not in worst or error.share > worst[key].share:
                worst[key] = error
    for slot in range(1, subject.slots):
        seed = seeds[slot % len(seeds)]
        judge(name, oracle, finished_call(name, subject, slot, seed)[0], seed, f"in its buffers of slot {slot}")
    return Check(worst, oracle.tolerance, seeds, ["poisoned results", "fresh inputs", "done when it says so"])


def finished_call(name: str, subject: Subject, slot: int, seed: int) -> tuple[Arrays, float]:
    """Results and seconds of one call from poisoned results. A call whose work still runs when it says that it is done
    is a BenchError: it would be timed too short."""
    subject.fill(slot, seed)
    subject.poison(slot)
    live = subject.live(slot)
    start = time.perf_counter()
    subject.run(slot)
    subject.sync()
    unwritten = [key for key, array in live.items() if _poisoned(array)]
    took = time.perf_counter() - start
    drained = _drain()
    outputs = subject.outputs(slot)
    if drained > max(DRAIN_LEAST, DRAIN_SHARE * took):
        raise BenchError(f"{name}: the device works on for {drained * 1e6:.0f} us after the call says it is done "
                         f"(after {took * 1e6:.0f} us); wait for the device in sync()")  # fmt: skip
    time.sleep(min(1.0, max(0.002, 2 * took)))
    later = subject.outputs(slot)
    changed = [key for key in later if not np.array_equal(outputs[key], later[key], equal_nan=True)]
    late = changed or [key for key in unwritten if not _poisoned(live[key])]
    if late:
        raise BenchError(f"{name}: output `{late[0]}` still changes after the call says it is done (after "
                         f"{took * 1e6:.0f} us); wait for the work in sync()")  # fmt: skip
    return later, took


def _poisoned(array: np.ndarray) -> bool:
    flat = array.reshape(-1)
    seen = flat[:: max(1, flat.size // SENTINELS)]
    poison = poison_of(array.dtype)
    same = np.isnan(seen.astype(np.float32)) if poison != poison else seen == poison
    return bool(same.any())


def _drain() -> float:
    """Seconds until every GPU that torch has touched is idle, by torch's own wait; 0 without one."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0.0
    start = time.perf_counter()
    torch.cuda.synchronize()
    return time.perf_counter() - start
