"""Result files: built, written, read back, valid by their schema; and what is not valid is refused."""

import copy
import json
from pathlib import Path

import pytest
from spar_bench.harness import record
from spar_bench.harness.environment import environment
from spar_bench.harness.measure import LocalPlayer, measure
from spar_bench.harness.policy import Policy
from spar_bench.harness.synthetic import Scale, ScaleOracle
from spar_engine.errors import ArtefactError

RESULTS = Path(__file__).parents[2] / "bench" / "results"


@pytest.fixture(scope="module")
def made():
    """A file with one earned row and one refused one."""
    oracle = ScaleOracle()
    measured = measure([LocalPlayer("a", Scale(oracle), oracle)], Policy(least_turns=4, seconds=0.5), accept_noise=True)
    result = record.new_file("kernels", "spar-bench kernels", None)
    what = {"op": "scale", "sizes": {"rows": 192}, "dtype": "f32", "subject": "a", "threads": 1, "cache": "hot"}
    result["rows"].append(record.row("kernels/scale/a", what, measured["a"], "spar-bench kernels --op scale"))
    result["refused"].append(record.refusal("kernels/scale/b", what | {"subject": "b"}, "wrong", "spar-bench kernels"))
    return result


def test_a_file_is_valid_and_comes_back_as_it_was(made, tmp_path):
    pytest.importorskip("jsonschema")
    record.validate(made)
    record.write(tmp_path / "deep" / "a.json", made)
    assert record.read(tmp_path / "deep" / "a.json") == json.loads(json.dumps(made))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("rows", 0, "time", "median"), -1, "rows/0/time/median"),
        (("rows", 0, "check", "share_of_tolerance"), 1.5, "rows/0/check"),
        (("rows", 0, "surprise"), 1, "rows/0"),
        (("kind"), "gossip", "kind"),
        (("environment", "cpu"), {}, "environment/cpu"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(made, path, value, says):
    pytest.importorskip("jsonschema")
    wrong = copy.deepcopy(made)
    *upper, last = (path,) if isinstance(path, str) else path
    where = wrong
    for key in upper:
        where = where[key]
    where[last] = value
    with pytest.raises(ArtefactError, match=says):
        record.validate(wrong)


def test_files_of_other_versions_and_other_things_are_refused(tmp_path):
    for text, says in (
        ("{", "is not JSON"),
        ('{"schema": "spar-bench/0"}', "schema is 'spar-bench/0'"),
        ("[]", "None"),
    ):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(ArtefactError, match=says):
            record.read(tmp_path / "a.json")
    with pytest.raises(ArtefactError, match="cannot be read"):
        record.read(tmp_path / "none.json")


def test_a_place_that_cannot_be_written_is_one_line(made, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match="cannot be written: File exists; choose another --json"):
        record.write(tmp_path / "file" / "a.json", made)


def test_nan_never_reaches_a_file(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        record.write(tmp_path / "a.json", {"value": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_no_host_and_no_path():
    text = json.dumps(environment())
    import os
    import socket

    assert socket.gethostname() not in json.loads(text).get("versions", {}).values()
    assert str(Path.home()) not in text
    assert os.getcwd() not in text
    assert {"cpu", "clocks", "versions", "commit", "variables"} <= environment().keys()


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_are_valid(path):
    pytest.importorskip("jsonschema")
    record.validate(record.read(path))
