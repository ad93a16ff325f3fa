"""Compiles every CUDA kernel for every target and records what it takes: registers, shared memory, spills.

python csrc/cuda/check.py [--arch sm_90a ...] [--op OP ...] [--report FILE]

Fails where a kernel does not compile or a hot one spills. nvcc is found on the path, under CUDA_HOME or
/usr/local/cuda, or where NVIDIA's wheels for this Python put it (docs/build.md). No GPU is needed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nvcc import REMEDY, find_nvcc

CUDA = Path(__file__).resolve().parent
TARGETS = ("sm_80", "sm_89", "sm_90a", "sm_100", "sm_120")
PTX = "compute_80"  # what newer GPUs compile at load
FLAGS = ("-std=c++20", "-O3", "-Xptxas", "-v", f"-I{CUDA}", f"-I{CUDA.parent / 'include'}")
# Kernels of the sampler's inner loop and of routing at the models' sizes; wider instances than those are spares.
HOT = re.compile(
    r"attend<(16|32), Part|attend<(80|112)>|core\(|(norm|add)_rows<\w+( \w+)?, (2|5|9)>|step<|resize<"
    r"|quantize<\w+( \w+)?, (2|3|6)>"
    r"|route::kernel|mix::kernel<(2|4|6)>"
)


def _named(mangled: list[str]) -> dict[str, str]:
    """Mangled names -> readable ones, without namespaces and parameters."""
    plain = subprocess.run(["c++filt", *mangled], capture_output=True, text=True, check=True).stdout.splitlines()
    short = {}
    for symbol, name in zip(mangled, plain, strict=True):
        name = re.sub(r"\(anonymous namespace\)::|spar::cuda::|spar::|^void ", "", name)
        name = re.sub(r"\((\w+(?:::\w+)*)\)(\d+)", r"\1 \2", name)  # (Part)0
        short[symbol] = re.sub(r"\([^()]*\)$", "", name)
    return short


def _resources(log: str) -> Iterator[tuple[str, dict[str, int]]]:
    """(mangled kernel, its figures) from what `ptxas -v` says."""
    for part in log.split("Compiling entry function '")[1:]:
        figures = {"registers": int(re.search(r"Used (\d+) registers", part)[1])}
        for name, pattern in (
            ("spill_bytes", r"(\d+) bytes spill stores"),
            ("stack_bytes", r"(\d+) bytes stack frame"),
            ("static_shared_bytes", r"(\d+) bytes smem"),
        ):
            found = re.search(pattern, part)
            figures[name] = int(found[1]) if found else 0
        yield part.split("'")[0], figures


def compile_one(nvcc: str, source: Path, target: str) -> dict[str, dict[str, int]]:
    """Kernel -> figures; SystemExit with the compiler's words where it fails."""
    code = target.replace("sm_", "compute_")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [nvcc, *FLAGS, f"-gencode=arch={code},code={target}", "-cubin", "-o", f"{folder}/out.cubin", str(source)],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"cuda-check: {source.relative_to(CUDA)} for {target}:\n{done.stdout}{done.stderr}")
    found = dict(_resources(done.stdout + done.stderr))
    names = _named(list(found))
    return {names[symbol]: figures for symbol, figures in found.items()}


def compile_ptx(nvcc: str, source: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *FLAGS, f"-arch={PTX}", "-ptx", "-o", f"{folder}/out.ptx", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise SystemExit(f"cuda-check: {source.relative_to(CUDA)} as PTX:\n{done.stdout}{done.stderr}")


def spilling(report: dict[str, dict[str, dict[str, dict[str, int]]]]) -> list[str]:
    """Hot kernels that spill, by op, kernel and target."""
    return [
        f"{op}: {kernel} spills {figures['spill_bytes']} bytes on {target}"
        for op, kernels in report.items()
        for kernel, targets in kernels.items()
        for target, figures in targets.items()
        if figures["spill_bytes"] and HOT.search(f"{kernel}(")
    ]


def operators() -> list[str]:
    return sorted(source.parent.name for source in CUDA.glob("*/sm80.cu"))


def check(nvcc: str, targets: tuple[str, ...], ptx: bool = True, say=lambda text: None, ops=()) -> dict:
    """op -> kernel -> target -> figures, for every op or those that are named."""
    report: dict = {}
    for op in ops or operators():
        source = CUDA / op / "sm80.cu"
        say(f"cuda-check: {op}")
        kernels = report.setdefault(op, {})
        for target in targets:
            for kernel, figures in compile_one(nvcc, source, target).items():
                kernels.setdefault(kernel, {})[target] = figures
        if ptx:
            compile_ptx(nvcc, source)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", nargs="+", default=TARGETS, help=f"targets, {' '.join(TARGETS)} unless given")
    parser.add_argument("--op", nargs="+", default=(), choices=operators(), help="these alone; all unless given")
    parser.add_argument("--report", type=Path, help="JSON file that takes the figures")
    options = parser.parse_args()
    nvcc = find_nvcc()
    if nvcc is None:
        raise SystemExit(f"cuda-check: there is no nvcc; {REMEDY}")
    version = re.search(r"V[\d.]+", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)[0]
    report = check(nvcc, tuple(options.arch), say=lambda text: print(text, flush=True), ops=options.op)
    if options.report:
        if options.op and options.report.exists():  # the others stay as they were
            report = json.loads(options.report.read_text("utf-8"))["ops"] | report
        text = json.dumps({"nvcc": version, "ptx": PTX, "ops": report}, indent=1, sort_keys=True)
        # One line a target: people compare them.
        text = re.sub(r'\{\s+("registers[^{}]*?)\s+\}', lambda m: "{" + re.sub(r"\s+", " ", m[1]) + "}", text)
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text + "\n", "utf-8")
    if bad := spilling(report):
        raise SystemExit("cuda-check: " + "\n            ".join(bad))
    count = sum(len(targets) for kernels in report.values() for targets in kernels.values())
    print(f"cuda-check: {count} kernels compiled, no hot one spills", file=sys.stderr)


if __name__ == "__main__":
    main()
