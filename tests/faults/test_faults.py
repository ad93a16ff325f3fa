"""A short version of the fault trials; docs/faults.md has the counts of a long one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("spar_engine._native")


def test_some_of_every_fault(golden_dir, tmp_path):
    from spar_engine.backends.build import prepared
    from spar_engine.weights import Checkpoint

    checkpoint = golden_dir("spar-tiny") / "checkpoint"
    artefacts = prepared(Checkpoint.open(checkpoint)).directory
    command = [sys.executable, str(Path(__file__).with_name("trials.py")), "--checkpoint", str(checkpoint),
               "--artefacts", str(artefacts), "--flips", "60", "--kills", "8", "--others", "6"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=dict(os.environ))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["flips"] == 60
    assert {kind: entry["trials"] for kind, entry in found["kinds"].items()} == {
        "packed": 10, "digests": 10, "header": 10, "manifest": 10, "graph": 10, "weights": 10, "kill": 8, "disk": 6,
        "clock": 6, "worker": 7,
    }  # fmt: skip
    assert found["kinds"]["packed"]["remade"] > 0
    assert found["kinds"]["weights"]["refused"] > 0
