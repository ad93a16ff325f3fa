"""Ten seconds of the load test, and a round of the throughput test; the whole ones are run by hand, see
docs/embedding.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("spar_engine._native")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx")


def test_ten_seconds_of_load(golden_dir):
    command = [sys.executable, str(Path(__file__).with_name("load.py")), "--model",
               str(golden_dir("spar-tiny") / "checkpoint"), "--seconds", "10", "--steps", "3", "--pool", "3",
               "--threads", "1", "--quick"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["outcomes"]["completed"] > 10


def test_a_round_of_throughput(golden_dir):
    """Both sides run and give the same bits; how fast they are a test on a shared machine cannot judge."""
    command = [sys.executable, str(Path(__file__).with_name("throughput.py")), "--model",
               str(golden_dir("spar-tiny") / "checkpoint"), "--requests", "4", "--rounds", "1", "--steps", "3",
               "--threads", "1", "--accept-noise"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["passed"] else 1)
    assert found["wrong"] == []
    assert found["checks"]["results are those of the same request alone"]
    assert found["steps_per_run"] > 1
    assert all(rate > 0 for rate in found["per_second"].values())
    assert found["passed"] == all(found["checks"].values())
