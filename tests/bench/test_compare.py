"""`spar-bench compare` on files: verdicts, exit codes, what cannot be compared, what is measured again."""

import copy

import numpy as np
import pytest
from spar_bench.cli import main
from spar_bench.compare import rerun, run
from spar_bench.compare.judge import Verdict, judge
from spar_bench.harness import record
from spar_bench.harness.environment import environment


def row(identity, median, seed=0, turns=12):
    rng = np.random.default_rng(seed)
    values = median * rng.lognormal(0, 0.005, turns)
    return {
        "id": identity, "what": {"op": identity, "threads": 1}, "check": None, "repro": "spar-bench kernels",
        "extra": {},
        "time": {"unit": "ns", "median": float(np.median(values)), "p5": float(values.min()),
                 "p95": float(values.max()), "ci95": [float(values.min()), float(values.max())],
                 "min": float(values.min()), "samples": 100, "inefficiency": 1.0,
                 "turns": {str(number): float(value) for number, value in enumerate(values)}},
        "noise": {"wall_s": 1.0, "own_s": 1.0, "foreign_s": 0.0, "steal_s": 0.0, "known": True, "discarded": {},
                  "yardstick_compute_s": [1.0, 1.0, 1.0], "yardstick_memory_s": [1.0, 1.0, 1.0]},
    }  # fmt: skip


NAMES = [f"kernels/op{number}" for number in range(10)]


@pytest.fixture(scope="module")
def base():
    made = record.new_file("kernels", "spar-bench kernels", None)
    made["rows"] = [row(name, 1e6 * (number + 1), seed=number) for number, name in enumerate(NAMES)]
    return made


@pytest.fixture
def files(base, tmp_path):
    """files(change) -> the two paths; `change` edits a copy of the first file."""

    def write(change=lambda made: None):
        after = copy.deepcopy(base)
        for number, each in enumerate(after["rows"]):
            fresh = row(each["id"], 1e6 * (number + 1), seed=100 + number)
            each["time"] = fresh["time"]
        change(after)
        record.write(tmp_path / "a.json", base)
        record.write(tmp_path / "b.json", after)
        return [str(tmp_path / "a.json"), str(tmp_path / "b.json")]

    return write


def slower(number, factor):
    def change(made):
        made["rows"][number] = row(NAMES[number], 1e6 * (number + 1) * factor, seed=200)

    return change


def test_the_same_is_the_same(files, capsys):
    assert main(["compare", *files(), "--rerun", "never"]) == 0
    assert capsys.readouterr().out == "10 rows compared: 10 same\n"


def test_slower_is_an_exit_code_and_a_line(files, capsys, tmp_path):
    code = main(["compare", *files(slower(3, 1.1)), "--rerun", "never", "--markdown", str(tmp_path / "c.md"),
                 "--json", str(tmp_path / "c.json")])  # fmt: skip
    out = capsys.readouterr().out
    assert code == 1
    assert "| kernels/op3 | 3.99 ms | 4.39 ms | 1.100 | 1.096 .. 1.105 | slower |" in out
    assert "9 same, 1 slower" in out
    assert "| kernels/op3 |" in (tmp_path / "c.md").read_text()


def test_faster_is_told_and_no_failure(files, capsys):
    assert main(["compare", *files(slower(3, 0.8)), "--rerun", "never"]) == 0
    assert "9 same, 1 faster" in capsys.readouterr().out


def test_a_lost_row_is_a_failure(files, capsys):
    def lose(made):
        lost = made["rows"].pop(2)
        made["refused"].append(record.refusal(lost["id"], lost["what"], "output `out` is wrong", "spar-bench kernels"))

    assert main(["compare", *files(lose), "--rerun", "never"]) == 1
    assert "lost: output `out` is wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: made.update(kind="pipeline"), "holds kernels, .*b.json holds pipeline"),
        (lambda made: made["environment"]["cpu"].update(model="Other"), "measured on different machines"),
        (lambda made: made.update(rows=[row("kernels/other", 1e6)]), "have no row in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(files, capsys, change, says):
    import re

    assert main(["compare", *files(change)]) == 2
    assert re.search(says, capsys.readouterr().err)


def test_other_machines_can_be_compared_on_request(files):
    change = lambda made: made["environment"]["cpu"].update(model="Other")  # noqa: E731
    assert main(["compare", *files(change), "--across-machines", "--rerun", "never"]) == 0


def test_only_suspects_are_measured_again_and_that_decides(files, monkeypatch, capsys):
    asked = []

    def again(kind, row_a, row_b, side_a, side_b, policy, margin):
        asked.append(row_a["id"])
        verdict = judge(row_a["id"], run.Sample.of_row(row_a), run.Sample.of_row(row_a), margin, paired=True)
        assert isinstance(verdict, Verdict)
        return verdict

    monkeypatch.setattr(run, "rerun", again)
    monkeypatch.setattr(rerun.Side, "why_not", lambda self: None)
    assert main(["compare", *files(slower(3, 1.1)), "--all"]) == 0
    assert asked == [NAMES[3]]
    assert "same (measured again)" in capsys.readouterr().out


def test_another_commit_is_not_taken_for_this_one(base):
    side = rerun.Side(copy.deepcopy(base), None)
    side.record["environment"]["commit"] = {"id": "0" * 40, "dirty": False}
    assert "another commit is installed" in side.why_not()
    side.record["environment"]["cpu"]["model"] = "Other"
    assert side.why_not() == "it was measured on another machine"
    assert "does not start" in rerun.Side(base, "/nonexistent/python").why_not()


def test_this_commit_can_run_unless_it_was_changed(base):
    side, commit = rerun.Side(copy.deepcopy(base), None), environment()["commit"]
    if commit is None:
        assert side.why_not() is None
    elif commit["dirty"]:
        assert side.why_not() == "its checkout has uncommitted changes"
    else:
        assert side.why_not() is None


def test_a_row_measured_again_is_measured_interleaved(tmp_path):
    """The real thing, on a small op: one program against itself."""
    from spar_bench.harness.policy import Policy

    what = {"op": "relu_linear_attention", "preset": "test", "dtype": "f32", "subject": "ours-scalar", "threads": 1,
            "cache": "hot", "sizes": {"batch": 1, "heads": 2, "tokens": 64, "head_dim": 32}}  # fmt: skip
    one = row("kernels/small", 1e5) | {"what": what}
    side = rerun.Side({}, None)
    policy = Policy(least_turns=8, seconds=2.0, tolerable=10.0, foreign=10.0, steal=10.0, slowdown=100.0)
    # This policy bears any load, under which one program may now and then seem faster than itself.
    for _ in range(3):
        verdict = rerun.rerun("kernels", one, one, side, side, policy, 0.02)
        if verdict.kind == "same":
            break
    assert verdict.kind == "same"
    assert verdict.rerun
    assert 0.8 < verdict.ratio < 1.25
