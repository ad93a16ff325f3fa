"""Builds one plan in a process of its own: python -m spar_export.tensorrt.worker < JOB

A process that ends gives all memory back, its peak can be told, and a builder that aborts takes nothing along. It says
what happens on standard output, one JSON object a line, and ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spar_engine.errors import ArtefactError, BackendError, SparError

from .flavours import flavour_of

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
CAPTURED = "REQUIRE_USER_ALLOCATION"
"""Builder flag of versions whose plans otherwise allocate while they run, which no captured graph may."""
OFTEN = 0.01
"""Seconds between two times that pages of weights are given back."""
STRIPPED = "; plans without weights may need a machine with a GPU to be built on: leave out --strip"


def main() -> int:
    """Read a job, build, say how it went. 0: the plan is written; 1: refused, and said why; 130: cancelled."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    job = json.load(sys.stdin)
    if os.getppid() != parent:  # it ended before the call above
        return 1
    cancelled: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to both; the parent decides
    signal.signal(signal.SIGTERM, lambda number, frame: cancelled.append(number))
    try:
        found = build(job, lambda: bool(cancelled))
    except SparError as error:
        if cancelled:
            return 130
        say(error=str(error))
        return 1
    say(done=found)
    return 0


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def build(job: dict[str, Any], cancelled: Any) -> dict[str, Any]:
    """Parse the graph, build the plan, write it to `job["plan"]`; what the caller should know of it."""
    trt = flavour_of(job["flavour"]).module()
    log = _logger(trt)
    if job["plugins"] is not None and trt.get_plugin_registry().load_library(job["plugins"]) is None:
        raise BackendError(f"TensorRT does not load {job['plugins']}; build it against this version of TensorRT")
    builder = trt.Builder(log)
    builder.max_threads = job["threads"]
    network = builder.create_network(_network_flags(trt))
    maps = _parse(trt, job, network, log)
    config = builder.create_builder_config()
    config.progress_monitor = monitor = _monitor(trt, cancelled)
    for name in job["flags"]:
        config.set_flag(getattr(trt.BuilderFlag, name))
    if hasattr(trt.BuilderFlag, CAPTURED):
        config.set_flag(getattr(trt.BuilderFlag, CAPTURED))
    _set_gpus(trt, config, job["gpu"])
    for profile in job["profiles"]:
        made = builder.create_optimization_profile()
        for name, shapes in profile.items():
            made.set_shape(name, *shapes)
        config.add_optimization_profile(made)
    cache = _timing_cache(config, job)
    with open(job["plan"], "wb") as file, _forgetting([one for one in maps if isinstance(one, mmap.mmap)]):
        built = builder.build_serialized_network_to_stream(network, config, _writer(trt, file))
        file.flush()
        os.fsync(file.fileno())
    if not built:
        hint = STRIPPED if "STRIP_PLAN" in job["flags"] else ""
        raise BackendError(f"{job['component']}: the builder refused: {log.last or 'it gave no reason'}{hint}")
    if cache is not None:
        Path(job["timing"]).write_bytes(bytes(memoryview(config.get_timing_cache().serialize())))
    del monitor, maps
    return {"layers": network.num_layers, "weights": _refittable(job)}


def _refittable(job: dict[str, Any]) -> list[str]:
    return [name for name, *_ in job["weights"]] if "STRIP_PLAN" in job["flags"] else []


def _network_flags(trt: Any) -> int:
    """Types are those of the graph; later versions know no other networks, and no such flag."""
    flags = trt.NetworkDefinitionCreationFlag
    return 1 << int(flags.STRONGLY_TYPED) if hasattr(flags, "STRONGLY_TYPED") else 0


def _parse(trt: Any, job: dict[str, Any], network: Any, log: Any) -> list[mmap.mmap]:
    """Fill the network from the graph; weights are read where they lie. Returns what must stay open."""
    parser = trt.OnnxParser(network, log)
    if not parser.load_model_proto(Path(job["graph"]).read_bytes()):
        raise _refusal(job, parser)
    maps: dict[str, tuple[mmap.mmap, int]] = {}
    for name, path, offset, size in job["weights"]:
        if path not in maps:
            with open(path, "rb") as file:  # private: only so can its address be asked for
                mapped = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            maps[path] = mapped, ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        if not parser.load_initializer(name, maps[path][1] + offset, size):
            raise ArtefactError(f"{job['component']}: the parser does not take `{name}` of {size} bytes")
    if not parser.parse_model_proto():
        raise _refusal(job, parser)
    return [*(mapped for mapped, _ in maps.values()), parser]


def _refusal(job: dict[str, Any], parser: Any) -> BackendError:
    """What the parser did not take, in one line that names operator and node."""
    if not parser.num_errors:
        return BackendError(f"{job['component']}: the parser refused the graph without a reason")
    error = parser.get_error(0)
    node, operator = error.node_name() or "without a name", error.node_operator() or "unknown"
    lines = [line.strip() for line in error.desc().splitlines() if line.strip()]
    why = lines[0] if lines else "no reason given"
    if "lugin not found" in error.desc():
        why = "neither a known operator nor a plugin"
    return BackendError(f"{job['component']}: the parser refuses node {node!r}, operator {operator!r}: {why[:300]}")


def _set_gpus(trt: Any, config: Any, gpus: list[str]) -> None:
    if not hasattr(config, "set_compute_capability"):
        return  # it builds for the GPU of this machine
    config.num_compute_capabilities = len(gpus)
    for index, name in enumerate(gpus):
        config.set_compute_capability(getattr(trt.ComputeCapability, name.upper()), index)


def _timing_cache(config: Any, job: dict[str, Any]) -> Any:
    """The cache of kernel timings of this GPU; None where nothing is timed, as ahead of time."""
    if job["timing"] is None:
        return None
    before = Path(job["timing"])
    cache = config.create_timing_cache(before.read_bytes() if before.exists() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _logger(trt: Any) -> Any:
    class Log(trt.ILogger):
        """Keeps the last error; warnings are not the user's business."""

        last = ""

        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.last = message.strip().splitlines()[0][:300]

    return Log()


@contextlib.contextmanager
def _forgetting(maps: list[mmap.mmap]) -> Iterator[None]:
    """Gives the pages of weights back all the time: they were not written to, and come back from the file when they are
    read. The builder reads all weights in one pass without a word to its monitor, hence a thread."""
    ended = threading.Event()

    def forget() -> None:
        while not ended.wait(OFTEN):
            for mapped in maps:
                mapped.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=forget, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _monitor(trt: Any, cancelled: Any) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Tells how far the builder is: its phases, innermost last, each with steps done and in all."""

        def __init__(self):
            trt.IProgressMonitor.__init__(self)
            self.phases: dict[str, list[int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            self.phases[phase_name] = [0, num_steps]
            self.tell()

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.phases.get(phase_name, [0, 0])[0] = step + 1
            self.tell()
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            self.phases.pop(phase_name, None)

        def tell(self) -> None:
            say(phases=[[name, *steps] for name, steps in self.phases.items()])

    return Monitor()


def _writer(trt: Any, file: Any) -> Any:
    class Writer(trt.IStreamWriter):
        """Writes the plan as it comes, so that it never lies in memory as a whole."""

        def __init__(self):
            trt.IStreamWriter.__init__(self)

        def write(self, data: Any) -> int:
            return file.write(data)

    return Writer()


if __name__ == "__main__":
    sys.exit(main())
