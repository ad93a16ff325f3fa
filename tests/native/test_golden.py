"""The golden vectors of the original, through the command that users run."""

from __future__ import annotations

import json

import pytest
from spar_engine.cli import main

SLOW = pytest.mark.slow  # the limit of a reduced precision is measured first
RUNS = [("spar-tiny", "fp32"), ("unilip-tiny", "fp32")]
RUNS += [pytest.param(name, "bf16", marks=SLOW) for name in ("spar-tiny", "unilip-tiny")]


def listing_what_is_there(folder, aside):
    """The golden folder; where a clone carries only some of its files, one beside it whose tolerances list these."""
    listed = json.loads((folder / "tolerances.json").read_text())
    there = {name: entries for name, entries in listed.items() if (folder / f"{name}.safetensors").exists()}
    if there == listed:
        return folder
    assert there
    for name in there:
        (aside / f"{name}.safetensors").symlink_to(folder / f"{name}.safetensors")
    (aside / "checkpoint").symlink_to(folder / "checkpoint")
    (aside / "tolerances.json").write_text(json.dumps(there))
    return aside


@pytest.mark.parametrize(("name", "precision"), RUNS)
def test_golden_vectors(golden_dir, capsys, tmp_path, name, precision):
    folder = listing_what_is_there(golden_dir(name), tmp_path)
    options = ["--backend", "native", "--precision", precision, "--threads", "2", "--golden", str(folder)]
    assert main(["doctor", str(folder / "checkpoint"), *options]) == 0, capsys.readouterr().out
