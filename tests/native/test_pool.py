"""Threads beyond the processors there are: they sleep, and the results are the same bits."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="needs /proc/self/schedstat")

# Prints the share of the pool's worker in the processor time of eight runs, and a digest of their results.
PROGRAM = """
import hashlib, os, sys, time
import numpy as np
os.sched_setaffinity(0, {int(cpu) for cpu in sys.argv[1].split(",")})
from spar_engine.backends.native import NativeBackend
from spar_engine.components import components
from spar_engine.weights.random import RandomWeights
from spar_engine.config import preset

weights = RandomWeights(preset("spar-tiny-random"))
before = set(os.listdir("/proc/self/task"))
backend = NativeBackend(weights, precision="fp32", threads=2, isa="scalar")
(worker,) = set(os.listdir("/proc/self/task")) - before

def seconds():
    with open(f"/proc/self/task/{worker}/schedstat") as file:
        return int(file.read().split()[0]) * 1e-9

given = components(weights.config)["vision"].example(np.random.default_rng(0))
backend.load("vision")
start, begin = seconds(), time.process_time()
for _ in range(8):
    out = backend.run("vision", given)
digest = hashlib.sha256(b"".join(np.asarray(out[name]).tobytes() for name in sorted(out))).hexdigest()
print((seconds() - start) / (time.process_time() - begin), digest)
"""


def run(cpus):
    done = subprocess.run([sys.executable, "-c", PROGRAM, ",".join(map(str, cpus))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    share, digest = done.stdout.split()
    return float(share), digest


def test_a_second_thread_sleeps_when_there_is_one_cpu():
    """A worker that was woken would take turns with its caller; this one only ends what it spun at its start."""
    cpus = sorted(os.sched_getaffinity(0))
    share, digest = run(cpus[:1])
    assert share < 0.01
    assert run(cpus[:2])[1] == digest
