"""Compiles the Triton kernels ahead of time: python -m spar_export.triton_aot OUT [--preset NAME ...] [--arch 80 ...]

What a model will ask for is found by running its parts on torch's meta device, which computes nothing, with operators
that note their launches. Each is then compiled for every architecture; no GPU is needed. `spar_engine.ops.cubins` reads
the result.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from spar_engine.config import ModelConfig, preset, presets
from spar_engine.errors import ArtefactError, MissingDependency, SparError
from spar_engine.modules import cuts
from spar_engine.modules.fused.dit import FusedDit
from spar_engine.modules.fused.linear import Linear
from spar_engine.modules.fused.table import Composed
from spar_engine.modules.fused.triton import TritonOps
from spar_engine.ops.cubins import VERSION
from spar_engine.ops.launches.launch import Launch, identity, kind_of

ARCHITECTURES = (80, 90, 100)
PROMPT = 32  # tokens beside the latent queries; kernels do not depend on it


class Recorder:
    """A runner that runs nothing and keeps every launch."""

    def __init__(self) -> None:
        self.launches: dict[str, Launch] = {}

    def has(self, launches: list[Launch]) -> bool:
        return True

    def run(self, launches: list[Launch], stream: int) -> None:
        self.launches |= {identity(launch): launch for launch in launches}


class AllOps(TritonOps, Composed):
    """Triton's operators, composed where a product is not plain."""

    def project_cross_attention(self, x: torch.Tensor, product: Any, *rest: Any) -> torch.Tensor:
        kind = TritonOps if isinstance(product, Linear) else Composed
        return kind.project_cross_attention(self, x, product, *rest)

    def project_gate_residual(self, x: torch.Tensor, y: torch.Tensor, product: Any, gate: torch.Tensor) -> torch.Tensor:
        kind = TritonOps if isinstance(product, Linear) else Composed
        return kind.project_gate_residual(self, x, y, product, gate)


def launches_of(config: ModelConfig, arch: int) -> dict[str, Launch]:
    """Every launch of one model in bf16 and fp8, by identity: with and without guidance, and for the picture."""
    recorder = Recorder()
    ops = AllOps(recorder, arch=arch)
    with torch.device("meta"), torch.inference_mode():
        module = cuts.prepare(cuts.build("dit", config).to(torch.bfloat16))
        d, side, tokens = config.dit, config.dit.sample_size, config.query_count + PROMPT
        # With products in 8 bits, what would be fused with them is a launch of its own.
        for fused, branches in itertools.product((FusedDit(module, ops), FusedDit(module, ops, fp8=True)), (1, 2)):
            cross = torch.empty(d.depth, branches, d.cross_heads, tokens, d.cross_head_dim, dtype=torch.bfloat16)
            lengths = torch.empty(branches, dtype=torch.int32)
            latent = torch.empty(1, side * side, d.in_channels)
            velocity = fused(latent, (side, side), torch.empty(1, d.depth, 6, d.width), torch.empty(1, 2, d.width),
                             branches, cross, cross, lengths)  # fmt: skip
            flat = latent.flatten(1)
            ops.guide_and_step(velocity.flatten(1).unsqueeze(1), torch.empty(1), torch.empty(20, 4), flat, flat, 0)
        long = torch.empty(
            1, d.heads, 4 * tokens, d.head_dim, dtype=torch.bfloat16
        )  # more tokens than one launch takes
        ops.relu_linear_attention(long, long, long)
        if config.router is not None:
            router = cuts.build("condition", config).to(torch.bfloat16).model.dynamic_router
            levels = torch.empty(len(config.levels), tokens, config.language.width, dtype=torch.bfloat16)
            ops.dynamic_token_routing(levels, *router.arguments())
        pixels = side * config.decoder.upscale
        place = torch.empty(pixels, dtype=torch.int32), torch.empty(pixels)
        ops.clamp_resize_uint8(torch.empty(1, 3, pixels, pixels), place, place)
    return recorder.launches


def compile_one(launch: Launch, arch: int) -> tuple[bytes, dict[str, Any], list[list[str]]]:
    """Cubin of a launch, what its loader must know, and its parameters in order."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(f"spar_engine.ops.triton.{launch.op}"), launch.kernel)
    arguments = launch.tensors | launch.numbers
    kinds = {name: kind_of(value) for name, value in arguments.items()}
    constants = launch.constants | {name: None for name, kind in kinds.items() if kind == "none"}
    signature = {name: "constexpr" if name in constants else kinds[name] for name in kernel.arg_names}
    parameters = [[name, kind] for name, kind in signature.items() if kind != "constexpr"]
    promised = {name for name, kind in parameters if kind.startswith("*") or name.endswith("_stride")}
    attributes = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(signature) if name in promised}
    made = triton.compile(
        ASTSource(kernel, signature, constants, attributes), target=GPUTarget("cuda", arch, 32),
        options={"num_warps": launch.warps, "num_stages": launch.stages},
    )  # fmt: skip
    entry = re.search(r"\.entry[^(]*\((.*?)\)", made.asm["ptx"], re.DOTALL)
    found = len(re.findall(r"\.param", entry[1])) if entry else len(parameters)
    if getattr(made.metadata, "global_scratch_size", 0):
        raise ArtefactError(f"{launch.kernel}: needs scratch memory, for which the loader has no place")
    return made.asm["cubin"], {"symbol": made.metadata.name, "shared": made.metadata.shared,
                               "trailing": found - len(parameters)}, parameters  # fmt: skip


def resources(code: bytes) -> dict[str, int]:
    """Registers of a thread and bytes of its stack, which is where registers spill to; {} without Triton's own tool."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        told = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    return {"registers": int(found[1]), "stack": int(found[2])} if found else {}


def build(out: Path, configs: Iterable[ModelConfig], archs: Iterable[int], say: Any = print) -> dict[str, Any]:
    """Compile everything into `out`; the manifest is written last. Returns the manifest."""
    try:
        import triton
    except ImportError as error:
        raise MissingDependency("compiling the kernels needs Triton; pip install --no-deps triton==3.8.0") from error
    out.mkdir(parents=True, exist_ok=True)
    kernels: dict[str, Any] = {}
    configs = list(configs)
    for arch in archs:
        wanted: dict[str, Launch] = {}
        for config in configs:
            wanted |= launches_of(config, arch)
        for name, launch in wanted.items():
            code, loading, parameters = compile_one(launch, arch)
            file = f"{launch.kernel}-{name}-sm_{arch}.cubin"
            (out / file).write_bytes(code)
            entry = kernels.setdefault(name, {"op": launch.op, "kernel": launch.kernel, "parameters": parameters,
                                              "constants": launch.constants, "cubins": {}})  # fmt: skip
            entry["cubins"][str(arch)] = {"file": file, "sha256": hashlib.sha256(code).hexdigest(), **loading,
                                           **resources(code)}  # fmt: skip
            say(f"sm_{arch}  {launch.kernel:24} {name}  {len(code):7d} bytes, {loading['shared']:6d} of shared memory")
    manifest = {"version": VERSION, "triton": triton.__version__, "models": [config.name for config in configs],
                "kernels": kernels}  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", "utf-8")
    return manifest


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m spar_export.triton_aot", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for cubins and manifest.json")
    parser.add_argument("--preset", nargs="+", default=["spar-1b", "spar-3b"], choices=presets(), help="%(default)s")
    parser.add_argument("--arch", nargs="+", type=int, default=list(ARCHITECTURES), choices=ARCHITECTURES)
    arguments = parser.parse_args(argv)
    try:
        made = build(arguments.out, map(preset, arguments.preset), arguments.arch)
    except SparError as error:
        print(f"triton_aot: {error}", file=sys.stderr)
        return 2
    print(f"{len(made['kernels'])} kernels in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
