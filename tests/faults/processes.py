"""Processes that are killed or run out of disk while they write, clocks that jump, workers that fail."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import spar_engine
from spar_engine.backends import packed
from spar_engine.backends.native import NativeBackend
from spar_engine.components import components
from spar_engine.errors import SparError
from spar_engine.weights import Checkpoint
from spar_engine.weights.digest import tensor_digests
from spar_engine.weights.safetensors import SafetensorsFile
from spar_engine.weights.writer import write_safetensors

Count = Callable[[str, str], None]
KEY = "ab" * 32
LONGEST = 0.03  # seconds before a kill


def child(work: Callable[[], None]) -> int:
    """Process id of a fork that runs `work`; it ends with code 1 when that fails."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return pid


def kills(checkpoint: Path, folder: Path, trials: int, rng: np.random.Generator, count: Count) -> None:
    """kill -9 of a process that writes packed weights, digests and a safetensors file, again and again."""
    folder.mkdir(parents=True)
    payloads = [rng.integers(0, 256, 1 << 20).astype(np.uint8) for _ in range(2)]
    tensors = [payload.reshape(1 << 10, -1) for payload in payloads]
    pack, tensor = folder / "x.packed", folder / "x.safetensors"
    source = SafetensorsFile(checkpoint / "model.safetensors")

    def write() -> None:
        for turn in range(10**6):
            packed.write(pack, KEY, memoryview(payloads[turn % 2].tobytes()))
            write_safetensors(tensor, [("t", "U8", tensors[0].shape, lambda turn=turn: tensors[turn % 2])])
            if turn % 8 == 0:
                tensor_digests(source)

    for _ in range(trials):
        pid = child(write)
        time.sleep(float(rng.random()) * LONGEST)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        try:
            found = packed.read(pack, KEY)
            fine = found is None or any(np.array_equal(found, payload) for payload in payloads)
            if tensor.exists():
                held = SafetensorsFile(tensor).raw("t")
                fine = fine and any(np.array_equal(held, one) for one in tensors)
            fine = fine and tensor_digests(source).keys() == source.tensors.keys()
            count("kill", "harmless" if fine else "failed: a file holds what nobody wrote")
        except Exception as error:
            count("kill", f"failed: {type(error).__name__}: {error}")


def disks(checkpoint: Path, folder: Path, trials: int, rng: np.random.Generator, count: Count) -> None:
    """A disk that is full after some bytes: files end there (RLIMIT_FSIZE), and the request must not notice."""
    for number in range(trials):
        cache, room = folder / str(number), int(rng.integers(0, 300_000))
        cache.mkdir(parents=True)

        def work(cache: Path = cache, room: int = room) -> None:
            weights = Checkpoint.open(checkpoint)
            given = components(weights.config)["lm_head"].example(np.random.default_rng(1))
            wanted = NativeBackend(weights, precision="bf16", threads=1).run("lm_head", given)["logits"]
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            for _ in range(2):  # what the first left behind must not harm the second
                backend = NativeBackend(weights, precision="bf16", threads=1, packed_cache=cache)
                if not np.array_equal(backend.run("lm_head", given)["logits"], wanted):
                    os._exit(3)

        pid = child(work)
        _, status = os.waitpid(pid, 0)
        count("disk", "harmless" if status == 0 else f"failed: with room for {room} bytes: status {status}")


def clocks(checkpoint: Path, folder: Path, trials: int, rng: np.random.Generator, count: Count) -> None:
    """The wall clock jumps by up to ten years, either way, between and during requests and while files are kept."""
    folder.mkdir(parents=True)
    real = time.time
    with spar_engine.load(checkpoint, backend="native", threads=1, packed_cache=folder) as engine:
        wanted = engine.ask(None, "Hello", max_new_tokens=3, deadline=60).token_ids
        for _ in range(trials):
            jumps = iter(rng.normal(0, 1e8, 10**4))
            with mock.patch("time.time", lambda jumps=jumps: real() + next(jumps)):
                try:
                    engine.backend.unload("lm_head")
                    for kept in folder.iterdir():
                        if rng.random() < 0.5:
                            os.utime(kept, (real() + next(jumps),) * 2)
                    found = engine.ask(None, "Hello", max_new_tokens=3, deadline=60).token_ids
                    tensor_digests(SafetensorsFile(checkpoint / "model.safetensors"))
                    count("clock", "harmless" if found == wanted else "failed: another answer")
                except Exception as error:
                    count("clock", f"failed: {type(error).__name__}: {error}")


def workers(checkpoint: Path, trials: int, rng: np.random.Generator, count: Count) -> None:
    """The backend raises in the middle of requests that run beside each other: each gets its error or its result."""
    with spar_engine.load(checkpoint, backend="native", threads=1) as engine:
        wanted = [_draw(engine, seed) for seed in range(3)]
        real, lock = engine.backend.run, threading.Lock()

        def run(component: str, inputs: dict, **more: object) -> dict:
            with lock:
                fails = rng.random() < 0.1
            if fails:
                raise (MemoryError, RuntimeError, SparError, OSError)[int(rng.integers(4))]("injected")
            return real(component, inputs, **more)

        engine._scheduler._run = run

        def one(seed: int) -> None:
            try:
                fine = np.array_equal(_draw(engine, seed), wanted[seed])
                count("worker", "harmless" if fine else "failed: another picture")
            except Exception as error:
                injected = str(error) == "injected"
                count("worker", "refused" if injected else f"failed: {type(error).__name__}: {error}")

        for _ in range(-(-trials // 3)):
            threads = [threading.Thread(target=one, args=(seed,)) for seed in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
        engine._scheduler._run = real
        sound = engine.metrics()["running"] == 0 and np.array_equal(_draw(engine, 0), wanted[0])
        count("worker", "harmless" if sound else "failed: the engine is not sound afterwards")


def _draw(engine: spar_engine.Engine, seed: int) -> np.ndarray:
    return engine.generate("a boat", seed=seed, num_inference_steps=2).pictures[0].pixels
