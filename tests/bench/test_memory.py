"""Memory of text to image: what is counted, and that the limit decides."""

import json
import sys

import pytest
from spar_bench.cli import main
from spar_bench.memory import MEANING

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@pytest.mark.parametrize(("limit", "code"), [("400", 0), ("1", 1)])
def test_drawing_holds_its_weights_and_some(tmp_path, capsys, limit, code):
    """The interpreter alone is above a megabyte; a tiny model is far from 400."""
    pytest.importorskip("spar_engine._native")
    command = ["memory", "--preset", "spar-tiny-random", "--precision", "int4", "--steps", "1", "--threads", "1"]
    assert main([*command, "--limit", limit, "--json", str(tmp_path / "a.json")]) == code
    shown, made = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert ("within 400 MB" if code == 0 else "ABOVE 1 MB") in shown
    found = made["bytes"]
    assert found.keys() | {"beyond"} == MEANING.keys()
    assert 1 << 20 < found["weights"] < found["peak"] < 400_000_000
    assert made["beyond"] == found["peak"] - found["weights"] - found["table"]
    assert made["within"] is (code == 0)
