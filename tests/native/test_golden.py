"""The golden vectors of the original, through the command that users run."""

from __future__ import annotations

import pytest
from spar_engine.cli import main


@pytest.mark.parametrize(("name", "precision"), [
    ("spar-tiny", "fp32"), ("unilip-tiny", "fp32"),
    pytest.param("spar-tiny", "bf16", marks=pytest.mark.slow), pytest.param("unilip-tiny", "bf16", marks=pytest.mark.slow),
])  # fmt: skip
def test_golden_vectors(golden_dir, capsys, name, precision):
    folder = golden_dir(name)
    options = ["--backend", "native", "--precision", precision, "--threads", "2", "--golden", str(folder)]
    assert main(["doctor", str(folder / "checkpoint"), *options]) == 0, capsys.readouterr().out
