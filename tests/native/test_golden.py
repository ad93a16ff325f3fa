"""The golden vectors of the original, through the command that users run."""

from __future__ import annotations

import pytest
from spar_engine.cli import main

SLOW = pytest.mark.slow  # the limit of a reduced precision is measured first
RUNS = [("spar-tiny", "fp32"), ("unilip-tiny", "fp32")]
RUNS += [pytest.param(name, "bf16", marks=SLOW) for name in ("spar-tiny", "unilip-tiny")]


@pytest.mark.parametrize(("name", "precision"), RUNS)
def test_golden_vectors(golden_dir, capsys, name, precision):
    folder = golden_dir(name)
    options = ["--backend", "native", "--precision", precision, "--threads", "2", "--golden", str(folder)]
    assert main(["doctor", str(folder / "checkpoint"), *options]) == 0, capsys.readouterr().out
