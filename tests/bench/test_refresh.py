"""`make bench`: the commands of the subset are valid, and only what was earned takes the place of a former file."""

import json

import pytest
from spar_bench import cli, refresh
from spar_bench.components.run import groups as component_groups
from spar_bench.harness import record
from spar_bench.kernels.case import ops
from spar_bench.kernels.run import groups as kernel_groups
from spar_bench.kernels.run import subjects
from spar_bench.machine import store
from spar_bench.options import policy_of, subjects_of
from spar_bench.pipelines.run import groups as task_groups
from spar_bench.report import page


def test_every_command_of_the_subset_selects_rows():
    parsed = {name: cli.parser().parse_args(words) for name, words in refresh.subset(False).items()}
    kernels = kernel_groups(parsed["quick-kernels"])
    assert all(subjects(group, parsed["quick-kernels"]) for group in kernels)
    assert len(kernels) == len(refresh.SIZES)
    assert {group.work.case.op for group in kernels} == {*ops()} - {"convolution"}
    assert [group.work.name for group in component_groups(parsed["quick-components"])] == [
        "vision", "prefill", "decode", "dit", "decoder"]  # fmt: skip
    assert [group.work.task for group in task_groups(parsed["quick-pipeline"])] == ["generate", "reconstruct"]
    assert all(subjects_of(parsed[name]) for name in ("quick-components", "quick-pipeline"))


def test_the_page_tells_of_every_committed_result():
    files = sorted(refresh.RESULTS.glob("*.json"))
    told = page.text([(path, record.read(path)) for path in files], {path: [] for path in files})
    assert [path.name for path in files if f"### `{path.name}`" not in told] == []
    assert "| spar-nano | reconstruct |  | 16 bit |" not in told  # nobody to compare with
    assert "| spar-1b | generate | steps=20 images=1 prompt=60 | 16 bit | 2 | native-bf16" in told
    assert "openvino-int8" not in next(line for line in told.splitlines() if "native-int4 " in line)


def test_budget_and_noise_are_passed_on():
    for words in refresh.subset(True, 0.25).values():
        parsed = cli.parser().parse_args(words)
        assert parsed.accept_noise
        assert policy_of(parsed).seconds == 0.25


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """measured(outcomes) runs the subset: by command an exit code, and the reasons of refused rows."""
    results, paged, asked = tmp_path / "bench" / "results", [], []
    results.mkdir(parents=True)
    monkeypatch.setattr(refresh, "RESULTS", results)
    monkeypatch.setattr(refresh, "write_page", lambda: paged.append({path.name for path in results.iterdir()}) or [])
    monkeypatch.setattr(store, "load_machine", lambda: None)
    for path in (tmp_path / "bench" / "__init__.py", tmp_path / "pyproject.toml"):
        path.touch()

    def run(outcomes, *options):
        def main(words):
            asked.append(words)
            if words[0] == "machine":
                return 0
            code, refused = outcomes[words[0]]
            made = record.new_file("kernels", " ".join(("spar-bench", *cli.measuring(words))), None)
            made["refused"] = [record.refusal("row", {}, reason, "spar-bench") for reason in refused]
            record.write(words[words.index("--json") + 1], made)
            return code

        monkeypatch.setattr(cli, "main", main)
        code = refresh.run(cli.parser().parse_args(["refresh", *options]))
        return code, results, asked, paged

    return run


def test_what_was_earned_is_kept_under_the_command_that_repeats_it(measured):
    earned = {"kernels": (0, []), "components": (0, []), "pipeline": (0, [])}
    code, results, asked, paged = measured(earned)
    assert code == 0
    assert [words[0] for words in asked] == ["machine", "kernels", "components", "pipeline"]
    assert paged == [{"quick-components.json", "quick-kernels.json", "quick-pipeline.json"}]
    command = json.loads((results / "quick-kernels.json").read_text())["command"]
    assert command.startswith("spar-bench kernels --shape 4x288x896,")
    assert "--json" not in command


@pytest.mark.parametrize("outcome", [(1, []), (0, ["the machine is too busy"])])
def test_what_was_not_earned_leaves_the_former_file(measured, outcome, capsys):
    _, results, _, _ = measured({"kernels": (0, []), "components": (0, []), "pipeline": (0, [])})
    former = results / "quick-kernels.json"
    former.write_text("former")
    code, _, _, paged = measured({"kernels": outcome, "components": (0, []), "pipeline": (0, [])})
    assert code == 1
    assert former.read_text() == "former"
    assert len(paged) == 2  # the page is made all the same
    assert "quick-kernels was not earned; its former file stays" in capsys.readouterr().err


def test_the_page_can_be_made_without_measuring(measured):
    code, _, asked, paged = measured({}, "--page-only")
    assert (code, asked, len(paged)) == (0, [], 1)
