"""Memory of text to image: what is counted, and that the limit decides."""

import sys

import pytest
from spar_bench.cli import main
from spar_bench.harness import record
from spar_bench.memory import MB, MEANING
from spar_bench.report.page import text
from spar_engine.errors import ArtefactError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


@pytest.mark.parametrize(("limit", "code"), [("400", 0), ("1", 1)])
def test_drawing_holds_its_weights_and_some(tmp_path, capsys, limit, code):
    """The interpreter alone is above a megabyte; a tiny model is far from 400."""
    pytest.importorskip("spar_engine._native")
    command = ["memory", "--preset", "spar-tiny-random", "--precision", "int4", "--steps", "1", "--threads", "1"]
    assert main([*command, "--limit", limit, "--json", str(tmp_path / "a.json")]) == code
    shown, made = capsys.readouterr().out, record.read(tmp_path / "a.json")
    assert ("within 400 MB" if code == 0 else "ABOVE 1 MB") in shown
    assert made["kind"] == "memory"
    assert made["command"] == " ".join(("spar-bench", *command, "--limit", limit))  # what repeats it, without the file
    found = made["memory"]["bytes"]
    assert found.keys() == MEANING.keys()
    assert 1 << 20 < found["weights"] < found["peak"] < 400_000_000
    assert found["beyond"] == found["peak"] - found["weights"] - found["table"]
    assert made["memory"]["within"] is (code == 0)
    assert f"| beyond | {found['beyond'] / MB:.1f} MB |" in text(
        [(tmp_path / "a.json", made)], {tmp_path / "a.json": []}
    )


def test_the_file_is_valid_and_another_meaning_is_not():
    pytest.importorskip("jsonschema")
    made = record.new_file("memory", "spar-bench memory", None)
    made["memory"] = {"bytes": dict.fromkeys(MEANING, 5), "limit": 4e8, "within": True}
    record.validate(made)
    del made["memory"]["bytes"]["beyond"]
    with pytest.raises(ArtefactError, match="memory/bytes"):
        record.validate(made)
