"""Ten seconds of the load test; the five minutes are run by hand, see docs/embedding.md."""

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
