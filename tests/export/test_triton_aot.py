"""Compiling Triton kernels ahead of time: what is compiled is what the runtime asks for; real cubins with Triton."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from spar_engine.config import preset  # noqa: E402
from spar_engine.modules import cuts  # noqa: E402
from spar_engine.modules.fused.dit import FusedDit  # noqa: E402
from spar_engine.modules.fused.linear import Linear  # noqa: E402
from spar_engine.modules.fused.triton import TritonOps  # noqa: E402
from spar_engine.ops.launches.launch import identity, kind_of  # noqa: E402
from spar_export import triton_aot  # noqa: E402

TRITON = importlib.util.find_spec("triton") is not None


@pytest.fixture(scope="module")
def wanted():
    return triton_aot.launches_of(preset("spar-1b"), 90)


def test_every_fused_op_of_a_step_is_asked_for(wanted):
    kernels = {launch.kernel for launch in wanted.values()}
    assert kernels == {
        "relu_linear_attention", "cross_attention", "layer_norm_modulate", "gate_residual", "quantize_rows",
        "glumbconv_core", "guide_and_step", "clamp_resize_uint8", "route_logits", "route_mix", "route_project",
        "relu_state", "relu_apply", "project_cross_attention", "project_gate_residual",
    }  # fmt: skip
    assert all(name == identity(launch) for name, launch in wanted.items())
    norms = [launch.constants for launch in wanted.values() if launch.kernel == "gate_residual"]
    kinds = {(each["GATED"], each["NORMED"], each["EIGHT"]) for each in norms}
    assert kinds == {
        (True, False, False),
        *((gated, True, eight) for gated in (True, False) for eight in (True, False)),
    }
    rows = [launch for launch in wanted.values() if launch.kernel == "quantize_rows"]
    widths = {1152: {"*fp32", "*bf16"}, 2880: {"*bf16"}}  # the query's input is the residual stream itself
    assert {(each.constants["WIDTH"], kind_of(each.tensors["x"])) for each in rows} == {
        (width, kind) for width, kinds in widths.items() for kind in kinds}  # fmt: skip


def test_a_sampler_step_of_spar_1b_is_few_launches(monkeypatch):
    """Fused operators and products, each one kernel, with the embedding; issue: at most 300 nodes a step."""
    counted = []
    config = preset("spar-1b")
    plain_run, plain_product = triton_aot.Recorder.run, Linear.__call__
    monkeypatch.setattr(triton_aot.Recorder, "run", lambda self, launches, stream: (
        counted.extend(launches), plain_run(self, launches, stream)))  # fmt: skip
    monkeypatch.setattr(Linear, "__call__", lambda self, x: counted.append("product") or plain_product(self, x))
    ops, d = TritonOps(triton_aot.Recorder()), config.dit
    with torch.device("meta"), torch.inference_mode():
        fused = FusedDit(cuts.prepare(cuts.build("dit", config).to(torch.bfloat16)), ops)
        cross = torch.empty(d.depth, 2, d.cross_heads, 288, d.cross_head_dim, dtype=torch.bfloat16)
        velocity = fused(torch.empty(1, 256, 32), (16, 16), torch.empty(1, d.depth, 6, d.width),
                         torch.empty(1, 2, d.width), 2, cross, cross, torch.empty(2, dtype=torch.int32))  # fmt: skip
        flat = torch.empty(1, 256 * 32)
        ops.guide_and_step(velocity.flatten(1).unsqueeze(1), torch.empty(1), torch.empty(20, 4), flat, flat, 0)
    beside = 2  # the embedding's product, and the copy of block 0's tokens for the second branch
    assert len(counted) + beside == 10 * d.depth + 5 <= 300


def test_the_sizes_of_a_call_do_not_change_what_is_compiled(wanted):
    """Other prompts, more steps, both branches: the kernels of 288 tokens serve them."""
    recorder = triton_aot.Recorder()
    ops = TritonOps(recorder, arch=90)
    d = preset("spar-1b").dit
    with torch.device("meta"):
        query = torch.empty(2, 256, d.width, dtype=torch.bfloat16).unflatten(-1, (16, 72)).transpose(1, 2)
        keys = torch.empty(2, 16, 576, 72, dtype=torch.bfloat16)
        ops.cross_attention(query, keys, keys, torch.empty(2, dtype=torch.int32))
        x, branch = torch.empty(2, 1024, d.width), torch.empty(2, 1024, d.width, dtype=torch.bfloat16)
        rows = torch.empty(2, d.width)
        ops.gate_residual_norm(x, branch, rows, rows, rows, 1e-6)
        flat = torch.empty(1, 32 * 1024)
        ops.guide_and_step(
            torch.empty(2, 1, 32 * 1024, dtype=torch.bfloat16), rows[0], torch.empty(50, 4), flat, flat, 7
        )
    assert recorder.launches.keys() <= wanted.keys()


def test_kinds_of_arguments():
    assert [kind_of(value) for value in (None, 3, 0.5, torch.empty(0, dtype=torch.bfloat16), torch.empty(0).int())] == [
        "none", "i32", "fp32", "*bf16", "*i32"]  # fmt: skip


def test_without_triton_the_command_says_how_to_get_it(tmp_path):
    program = (
        "import sys; sys.modules['triton'] = None\n"
        "from spar_export.triton_aot import main; sys.exit(main([sys.argv[1]]))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install --no-deps triton" in done.stderr


@pytest.mark.skipif(not TRITON, reason="Triton is not installed; pip install --no-deps triton==3.8.0 (273 MiB)")
def test_real_cubins(tmp_path):
    """Two kernels, compiled for two architectures in a process of their own, load into a driver that checks them."""
    program = """
import sys
from pathlib import Path
from spar_engine.config import preset
from spar_export import triton_aot
every = triton_aot.launches_of
kept = {"relu_state", "glumbconv_core"}
triton_aot.launches_of = lambda config, arch: {
    name: launch for name, launch in every(config, arch).items() if launch.kernel in kept}
triton_aot.build(Path(sys.argv[1]), [preset("spar-1b")], [80, 90], say=lambda line: None)
"""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path / "cache")
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environment)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    seen = {(entry["kernel"], arch) for entry in manifest["kernels"].values() for arch in entry["cubins"]}
    assert seen == {(kernel, arch) for kernel in ("relu_state", "glumbconv_core") for arch in ("80", "90")}
    for entry in manifest["kernels"].values():
        assert all(found["trailing"] >= 0 for found in entry["cubins"].values())
        assert all(found.get("stack", 0) == 0 for found in entry["cubins"].values()), "registers spill"
        for found in entry["cubins"].values():
            assert (tmp_path / found["file"]).read_bytes()[:4] == b"\x7fELF"
