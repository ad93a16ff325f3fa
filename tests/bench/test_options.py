"""Arguments that subcommands share, and the command line as a whole."""

import argparse

import pytest
from spar_bench import options
from spar_bench.cli import main, measuring, parser
from spar_bench.harness.environment import cpu
from spar_bench.harness.policy import KERNELS, POLICIES
from spar_bench.peers.backend import PRECISIONS, all_ours, is_ours, open_subject_backend
from spar_bench.peers.base import ALL, peer, split
from spar_engine.backends.choose import NAMES
from spar_engine.errors import BackendError, InputError, MissingDependency


def given(**changed):
    base = {"subjects": None, "backend": "native", "precision": None, "peers": "none", "policy": "kernels",
            "seconds": None, "precision_goal": None}  # fmt: skip
    return argparse.Namespace(**base | changed)


def test_threads():
    assert options.threads_of("1,all") == sorted({1, cpu()["cores"]})
    for text in ("0", "x", f"{cpu()['cores'] + 1}"):
        with pytest.raises(InputError, match=r"must be from 1 to \d+, or all"):
            options.threads_of(text)


def test_policies_and_their_changes():
    assert options.policy_of(given()) == KERNELS
    changed = options.policy_of(given(policy="quick", seconds=3.0, precision_goal=0.01))
    assert (changed.seconds, changed.precision, changed.least_turns) == (3.0, 0.01, POLICIES["quick"].least_turns)
    with pytest.raises(InputError, match="--seconds=0 must be greater than 0"):
        options.policy_of(given(seconds=0.0))


def test_growth():
    assert options.growth_of(None) == (None, [])
    assert options.growth_of("steps=4,8") == ("steps", [4, 8])
    for text in ("steps", "steps=4", "=1,2", "steps=0,1", "steps=a,b"):
        with pytest.raises(InputError, match="is not AXIS=V1,V2"):
            options.growth_of(text)


def test_subjects_by_backend_precision_and_peer():
    assert options.subjects_of(given()) == [f"native-{precision}" for precision in PRECISIONS["native"]]
    assert options.subjects_of(given(backend="native,torch", precision="bf16")) == ["native-bf16", "torch-bf16"]
    assert options.subjects_of(given(precision="bf16", peers="openvino-bf16"))[1:] == ["openvino-bf16"]
    assert options.subjects_of(given(subjects="torch-eager-fp32,native-bf16")) == ["torch-eager-fp32", "native-bf16"]
    everything = options.subjects_of(given(peers="all"))
    assert "torch-compile-bf16" in everything
    assert not any(name.startswith("tensorrt") for name in everything)  # needs a GPU


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"backend": "metal"}, "--backend: 'metal' is unknown; there are native"),
        ({"peers": "openvino-fp8"}, "peer openvino has no precision 'fp8'; it has fp32, bf16, int8"),
        ({"peers": "llama-bf16"}, "peer 'llama' is unknown; there are torch-eager"),
    ],
)
def test_wrong_subjects_say_what_there_is(changed, says):
    with pytest.raises((InputError, BackendError), match=says):
        options.subjects_of(given(**changed))


def test_every_backend_of_the_engine_is_a_subject():
    assert {name.rpartition("-")[0] for name in all_ours()} == set(NAMES)
    assert all(is_ours(name) for name in all_ours())
    assert not is_ours("torch-eager-bf16")
    assert not is_ours("onnxruntime-int8")


def test_every_peer_says_how_it_is_called_and_what_it_needs():
    for each in ALL:
        assert each.settings
        assert peer(each.name) is each
        for precision in each.precisions:
            assert split(f"{each.name}-{precision}") == (each, precision)


def test_a_peer_that_is_missing_is_named():
    lacking = [each for each in ALL if each.missing()]
    assert all(each.gpu or each.name == "openvino" for each in lacking)
    for each in lacking:
        with pytest.raises(MissingDependency, match=f"peer {each.name} needs"):
            each.load_backend()


def test_an_unknown_subject_lists_the_known_ones():
    with pytest.raises(BackendError, match=r"subject 'metal-bf16' is unknown; there are .*native-bf16"):
        open_subject_backend("metal-bf16", None, 1)


def test_every_subcommand_explains_itself(capsys):
    for command in (
        "machine",
        "kernels",
        "components",
        "pipeline",
        "compare",
        "plot",
        "refresh",
        "selftest",
        "quality",
    ):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
    assert "--accept-noise" in capsys.readouterr().out


def test_errors_are_one_line_and_code_2(capsys):
    assert main(["kernels", "--op", "softmax"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("spar-bench kernels: op 'softmax' is unknown")
    assert err.count("\n") == 1
    assert parser().parse_args(["compare", "a", "b"]).rerun == "suspects"


def test_a_result_remembers_how_it_was_measured_not_where_it_went():
    words = ["components", "--preset", "spar-1b", "-q", "--json", "/a/b.json", "--csv=c.csv", "--waterfall", "w.png",
             "--threads", "all"]  # fmt: skip
    assert measuring(words) == ["components", "--preset", "spar-1b", "--threads", "all"]
