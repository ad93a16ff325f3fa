"""`make gpu-check` without a GPU: the runner of its stages with stand-ins, and what the stages do on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from spar_bench.gpu_check import __main__ as command
from spar_bench.gpu_check import stages
from spar_bench.gpu_check.stages import Ended, Rows, Stage, execute, missing, rows_of, run_stages

torch = pytest.importorskip("torch")

from spar_bench.gpu_check import build, machine, ops, parity, speed  # noqa: E402
from spar_engine.config import preset  # noqa: E402
from spar_engine.modules.fused import table  # noqa: E402
from spar_engine.modules.fused.table import TorchOps  # noqa: E402
from spar_engine.weights import RandomWeights  # noqa: E402


class Machine:
    """Runs stages in no time: what each writes, how it ends, and what it takes of a clock of its own."""

    def __init__(self, **scripts):
        self.scripts, self.now, self.limits = scripts, 0.0, {}

    def clock(self):
        return self.now

    def run(self, command, limit, log):
        name = command[0]
        seconds, code, rows = self.scripts[name]
        self.limits[name] = limit
        self.now += min(seconds, limit)
        with open(command[-1], "w", encoding="utf-8") as file:
            file.write("\n".join(map(json.dumps, rows)))
        return Ended(None if seconds > limit else code, f"{name} says\nthat this went wrong")


def run(machine, *wanted, budget=100.0, lacking=lambda needs: [], tmp_path):
    said = []
    listed = [Stage(name, (name,), limit, needs) for name, limit, needs in wanted]
    done = run_stages(listed, budget, tmp_path, run=machine.run, lacking=lacking, clock=machine.clock, say=said.append)
    assert len(said) == len(done) == len(listed)
    return {found["stage"]: found for found in done}


def test_a_failure_is_recorded_and_stops_nothing(tmp_path):
    machine = Machine(one=(1, 2, []), two=(1, 0, [{"name": "a", "ok": True}]),
                      three=(50, 0, [{"name": "b", "ms": 1.0}]),
                      four=(1, 0, [{"name": "c", "ok": False}, {"name": "d", "ok": None}]),
                      five=(1, 0, []))  # fmt: skip
    done = run(
        machine, ("one", 9, ()), ("two", 9, ()), ("three", 9, ()), ("four", 9, ()), ("five", 9, ()), tmp_path=tmp_path
    )
    assert {name: found["status"] for name, found in done.items()} == {
        "one": "failed", "two": "passed", "three": "timed out", "four": "failed", "five": "passed"}  # fmt: skip
    assert done["one"]["reason"] == "exit code 2: that this went wrong"
    assert done["three"]["rows"] == [{"name": "b", "ms": 1.0}]  # what it found before its time was over
    assert done["three"]["seconds"] == 9
    assert done["four"]["reason"] == "1 of 2 rows: c"
    assert "that this went wrong" in done["one"]["tail"]


def test_all_stages_together_keep_the_budget(tmp_path):
    machine = Machine(one=(30, 0, []), two=(60, 0, []), three=(1, 0, []))
    done = run(machine, ("one", 40, ()), ("two", 40, ()), ("three", 40, ()), budget=50, tmp_path=tmp_path)
    assert machine.limits == {"one": 40, "two": 20}
    assert done["two"]["status"] == "timed out"
    assert (done["three"]["status"], done["three"]["reason"]) == ("skipped", "no time left of 50 s")
    assert machine.now == 50


def test_missing_tools_are_named_and_the_stage_is_not_run(tmp_path):
    machine = Machine(two=(1, 0, []))
    done = run(machine, ("one", 9, ("compute-sanitizer",)), ("two", 9, ()), lacking=list, tmp_path=tmp_path)
    assert done["one"]["reason"] == "not on this machine: compute-sanitizer"
    assert done["one"]["status"] == "skipped"
    assert done["two"]["status"] == "passed"
    assert missing(["module:json", "module:no_such_module", "no-such-program"]) == ["no_such_module", "no-such-program"]


def test_a_process_that_hangs_is_ended_with_its_children(tmp_path):
    program = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "print('begun', flush=True); time.sleep(60)"
    )
    begin = time.monotonic()
    ended = execute((sys.executable, "-c", program), 3, tmp_path / "log")
    assert ended == Ended(None, "begun\n")
    assert time.monotonic() - begin < 30
    assert execute((sys.executable, "-c", "raise SystemExit(3)"), 30, tmp_path / "log").code == 3
    assert execute(("no-such-program",), 30, tmp_path / "log").code == 127


def test_rows_survive_a_write_that_was_cut_off(tmp_path):
    rows = Rows(tmp_path / "rows")
    rows.add("one", ok=True)
    rows.attempt("two", lambda: {"ok": True})
    assert not rows.failed
    rows.attempt("three", lambda: 1 / 0)
    assert rows.close() == 1
    with open(tmp_path / "rows", "a", encoding="utf-8") as file:
        file.write('{"name": "fo')
    found = rows_of(tmp_path / "rows")
    assert [row["name"] for row in found] == ["one", "two", "three"]
    assert found[2] == {"name": "three", "ok": False, "error": "ZeroDivisionError: division by zero"}
    assert rows_of(tmp_path / "nothing") == []


def test_the_command_writes_one_file_and_tells_what_is_wrong(tmp_path, monkeypatch, capsys):
    rows = [{"name": "k ours", "ms": 2.0, "of_floor": 0.5}, {"name": "k torch", "ms": 3.0}]
    program = f"import json, sys; open(sys.argv[-1], 'w').write('\\n'.join(map(json.dumps, {rows!r})))"
    listed = [
        Stage("one", (sys.executable, "-c", program), 60),
        Stage("two", (sys.executable, "-c", "raise SystemExit('no such thing')"), 60),
    ]
    monkeypatch.setattr(command, "stages", lambda: listed)
    assert command.main(["--json", str(tmp_path / "folder" / "out.json")]) == 1
    written = json.loads((tmp_path / "folder" / "out.json").read_text())
    assert written["kind"] == "gpu-check"
    assert [stage["status"] for stage in written["stages"]] == ["passed", "failed"]
    printed = capsys.readouterr().out
    assert "k torch" in printed
    assert "1.50 x" in printed
    assert "50 % of the floor" in printed
    assert "no such thing" in printed
    assert command.main(["--json", str(tmp_path / "out.json"), "--only", "one"]) == 0
    with pytest.raises(SystemExit):
        command.main(["--json", str(tmp_path / "out.json"), "--only", "three"])


def test_the_stages_fit_their_budget_but_for_the_last():
    listed = command.stages()
    assert sum(stage.limit for stage in listed[:3]) < command.BUDGET < 480
    assert len({stage.name for stage in listed}) == len(listed)
    modules = {part.rpartition(".")[2] for stage in listed for part in stage.command if part.startswith("spar_bench.")}
    assert modules == {"machine", "build", "ops", "parity", "speed", "engines", "suite"}


def test_this_machine_is_described(tmp_path):
    found = machine.look()
    assert found["ok"] == torch.cuda.is_available()
    assert set(found["missing"]) <= {tool.removeprefix("module:") for tool in machine.TOOLS}


TESTS = """
import pytest

pytestmark = pytest.mark.gpu

def test_right(): pass
def test_wrong(): assert 1 == 2
def test_absent(): pytest.skip("no such GPU")

@pytest.fixture
def broken(): raise OSError("no device")

def test_broken(broken): pass
"""


def test_tests_become_rows(tmp_path):
    (tmp_path / "test_few.py").write_text(TESTS)
    program = "import sys; from spar_bench.gpu_check import suite; suite.FILES = sys.argv[2:]; "
    program += "sys.exit(suite.main(sys.argv[1]))"
    for file, code in (("test_few.py", 1), ("test_none.py", 1)):
        command = (sys.executable, "-c", program, str(tmp_path / f"{file}.rows"), str(tmp_path / file))
        assert subprocess.run(command, capture_output=True).returncode == code
    found = {row["name"].rpartition("::")[2]: row for row in rows_of(tmp_path / "test_few.py.rows")}
    assert {name: row["ok"] for name, row in found.items()} == {
        "test_right": True, "test_wrong": False, "test_absent": None, "test_broken": False}  # fmt: skip
    assert "no device" in found["test_broken"]["error"]
    assert "no such GPU" in found["test_absent"]["reason"]
    assert rows_of(tmp_path / "test_none.py.rows")[0]["error"] == "ended with USAGE_ERROR"


BARE = """
import sys
from importlib.machinery import PathFinder

LACKING = {"jsonschema", "tokenizers", "safetensors", "rich", "PIL", "pybind11", "onnx", "onnxruntime", "triton",
           "cuda", "pytest", "psutil", "fastapi", "matplotlib", "spar_engine._native", "spar_engine._cuda"}

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: None if name in LACKING else find(name, path, target)
from spar_bench.gpu_check import __main__, build, machine, ops, parity, speed, stages, suite
from spar_engine.config import preset

assert machine.look()["missing"]
ops.OPS = ("guide_and_step", "quantize_rows")
rows = stages.Rows(sys.argv[1])
ops.run(rows, "cpu")
parity.check(rows, parity.Kept(preset("spar-tiny-random")), "cpu")
sys.exit(rows.close())
"""


def test_the_stages_need_nothing_but_torch_and_numpy(tmp_path):
    """On a machine that has no more: what is missing costs its own stage, not the others."""
    done = subprocess.run([sys.executable, "-c", BARE, str(tmp_path / "rows")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {"ask", "reconstruct", "fp8 dit"} <= {row["name"] for row in rows_of(tmp_path / "rows")}


def test_how_the_extension_is_compiled(tmp_path):
    listed = build.sources()
    assert {path.suffix for path in listed} == {".cu", ".cpp"}
    assert all(path.exists() for path in listed)
    *compiles, link = build.commands("nvcc", "sm_90a", ["headers"], tmp_path, tmp_path / "_cuda.so")
    assert len(compiles) == len(listed)
    target = "-gencode=arch=compute_90a,code=sm_90a"
    assert all("-Iheaders" in command and target in command for command in compiles)
    assert [command[-1] for command in compiles] == link[link.index(target) + 1 : -2]
    assert [build.architecture(found) for found in ((8, 0), (8, 9), (9, 0), (12, 0))] == [
        "sm_80", "sm_89", "sm_90a", "sm_120a"]  # fmt: skip
    assert (Path(build.headers()[0]) / "Python.h").exists()
    assert any((path / "pybind11" / "pybind11.h").exists() for path in map(Path, build.headers()))


@pytest.fixture(scope="module")
def tiny():
    return RandomWeights(preset("spar-tiny-random"))


def written(tmp_path, work):
    rows = Rows(tmp_path / "rows")
    work(rows)
    rows.close()
    return {row["name"]: row for row in rows_of(tmp_path / "rows")}


def test_parity_of_components_and_tasks(tiny, tmp_path):
    found = written(tmp_path, lambda rows: parity.check(rows, tiny, "cpu"))
    assert [name for name, row in found.items() if row.get("ok") is False] == []
    assert {"component dit", "text to image", "reconstruct", "ask", "fp8 dit", "backend"} <= found.keys()
    assert 0 < found["component dit"]["error"] < found["fp8 dit"]["error"] < 0.3


def test_a_wrong_backend_fails_the_parity(tiny, tmp_path, monkeypatch):
    """Every second key is forgotten."""
    plain = TorchOps.cross_attention
    monkeypatch.setattr(TorchOps, "cross_attention", lambda self, query, keys, values, lengths:
                        plain(self, query, keys[:, :, ::2], values[:, :, ::2], (lengths + 1) // 2))  # fmt: skip
    found = written(tmp_path, lambda rows: parity.check(rows, tiny, "cpu"))
    assert found["component dit"]["ok"] is False
    assert found["text to image"]["ok"] is False
    assert found["component vision"]["ok"] is True


def test_ops_are_checked_in_every_implementation(tmp_path, monkeypatch):
    monkeypatch.setattr(ops, "OPS", ("layer_norm_modulate", "guide_and_step"))
    found = written(tmp_path, lambda rows: ops.run(rows, "cpu"))
    assert all(row["ok"] for row in found.values())
    assert "torch guide_and_step[first-order]" in found
    monkeypatch.setattr(TorchOps, "layer_norm_modulate", lambda self, x, shift, scale, eps: x.to(self.half))
    found = written(tmp_path / "..", lambda rows: ops.run(rows, "cpu", only="torch"))
    assert found["torch layer_norm_modulate[usual]"]["ok"] is False
    assert found["torch guide_and_step[usual]"]["ok"] is True


def test_what_a_fault_has_spoilt_goes_on_in_a_new_process(tmp_path, monkeypatch):
    """A row in which a kernel faults is kept; the process that takes over does what is left, and nothing twice."""
    monkeypatch.setattr(ops, "OPS", ("quantize_rows", "guide_and_step"))
    monkeypatch.setattr(ops, "implementations", lambda device="cuda": {"torch": TorchOps(torch.bfloat16)})
    monkeypatch.setattr(ops, "__spec__", SimpleNamespace(name="here"), raising=False)
    plain, dead = TorchOps.quantize_rows, []

    def faulty(self, x):
        if x.shape[-1] == 5600 and not dead:
            dead.append(True)
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return plain(self, x)

    class TakenOverError(Exception):
        pass

    def taken_over(program, command):
        dead.append("new process")
        raise TakenOverError(command)

    monkeypatch.setattr(TorchOps, "quantize_rows", faulty)
    monkeypatch.setattr(ops, "alive", lambda: dead != [True])
    monkeypatch.setattr(ops.os, "execv", taken_over)
    run_on_cpu = ops.run
    monkeypatch.setattr(ops, "run", lambda rows, **options: run_on_cpu(rows, "cpu", **options))
    arguments = [str(tmp_path / "rows")]
    with pytest.raises(TakenOverError) as raised:
        ops.main(arguments)
    assert raised.value.args[0][1:] == ["-m", "here", *arguments]
    first = rows_of(tmp_path / "rows")
    assert first[-1]["name"] == "torch quantize_rows[wide-hidden]"
    assert "illegal memory" in first[-1]["error"]
    assert ops.main(arguments) == 1  # what failed before counts
    rows = rows_of(tmp_path / "rows")
    assert rows[: len(first)] == first
    assert len({row["name"] for row in rows}) == len(rows) > len(first) + 5
    assert all(row["ok"] for row in rows[len(first) :])


def test_every_fused_operator_is_timed(tiny):
    """A kernel that is registered without a case would never be measured."""
    assert {op for op, _, _ in speed.calls(tiny.config, "cpu").values()} == set(table.OPS)
    assert set(speed.LARGE) <= speed.calls(tiny.config, "cpu").keys()


def test_the_file_is_written_after_every_stage(tmp_path, monkeypatch):
    """A machine that is taken away leaves what was found until then."""
    target = tmp_path / "out.json"
    program = f"import json, sys; print(len(json.load(open({str(target)!r}))['stages']))"
    listed = [Stage(name, (sys.executable, "-c", program), 60) for name in ("one", "two")]
    monkeypatch.setattr(command, "stages", lambda: listed)
    command.main(["--json", str(target)])
    first, second = json.loads(target.read_text())["stages"]
    assert "No such file" in first["tail"]
    assert second["tail"] == "1\n"


def test_large_sizes_are_shown_beside_copying():
    rows = [
        {"name": "roofs", "roofs": {"copy_bytes_per_s": 3e12}},
        {"name": "x@large ours", "ms": 1.0, "gb_per_s": 2400},
    ]
    done = [{"stage": "one", "status": "passed", "reason": None, "seconds": 1.0, "rows": rows}]
    assert "80 % of copying" in command.table(done)


def test_times_are_taken_of_what_is_named(tiny, tmp_path):
    def work(rows):
        speed.kernels(rows, tiny.config, "cpu")
        speed.each_component(rows, tiny, "cpu")
        speed.pictures(rows, tiny, "cpu", {"usual": {}})

    found = written(tmp_path, work)
    assert [row for row in found.values() if row.get("ok") is False] == []
    assert all(row["ms"] > 0 for row in found.values())
    assert {f"{name} torch" for name in speed.calls(tiny.config, "cpu")} <= found.keys()
    assert found["picture ours-usual"]["backend"]["answered"]["guide_and_step"] == ["torch"]


def test_peers_that_are_timed_exist():
    from spar_bench.peers.base import split

    assert [split(name)[0].gpu for name in speed.PEERS] == [True] * 3
    assert min(stage.limit for stage in command.stages()) > stages.LEAST
