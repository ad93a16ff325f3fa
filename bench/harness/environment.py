"""The record of where a number was taken: machine, software, settings. No host names, no paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("spar-engine", "numpy", "torch", "onnxruntime", "onnxruntime-gpu", "openvino", "nncf", "triton", "tensorrt")
VARIABLES = re.compile(r"^(OMP|MKL|KMP|GOMP|DNNL|ONEDNN|GLIBC_TUNABLES|MALLOC|OPENBLAS|TORCH|SPAR|CUDA)(_|$)")
# Instruction sets that change what a kernel can do, in the kernel's spelling.
SETS = (
    "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni",
    "amx_tile", "amx_bf16", "amx_int8", "amx_fp16",
)  # fmt: skip


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


@cache
def cpu() -> dict[str, Any]:
    """Model, instruction sets, microcode, cores and caches; what does not change while the machine runs."""
    text = _read("/proc/cpuinfo") or ""
    fields = dict(re.findall(r"^([^\t:]+?)\s*: (.*)$", text.split("\n\n", 1)[0], re.MULTILINE))
    flags = fields.get("flags", "").split()
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = (_read(f"{index}/{name}") for name in ("type", "level", "size"))
        if kind and level and size and kind != "Instruction":
            caches[f"L{level}"] = int(size.rstrip("K")) * 1024
    return {
        "model": fields.get("model name", platform.processor() or "unknown"),
        "family": f"{fields.get('cpu family', '?')}/{fields.get('model', '?')}/{fields.get('stepping', '?')}",
        "microcode": fields.get("microcode"),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "isa": [name for name in SETS if name in flags],
        "hypervisor": "hypervisor" in flags,
        "caches": caches,
    }


def clocks() -> dict[str, Any]:
    """What the system says about its clocks and their limits now; empty where it says nothing."""
    found: dict[str, Any] = {}
    base = "/sys/devices/system/cpu/cpu0"
    if governor := _read(f"{base}/cpufreq/scaling_governor"):
        found["governor"] = governor
    if speed := re.search(r"^cpu MHz\s*: ([\d.]+)", _read("/proc/cpuinfo") or "", re.MULTILINE):
        found["mhz"] = float(speed[1])
    if (throttled := _read(f"{base}/thermal_throttle/core_throttle_count")) is not None:
        found["throttle_count"] = int(throttled)
    if pages := re.search(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled") or ""):
        found["huge_pages"] = pages[1]
    return found


def commit() -> dict[str, Any] | None:
    """Commit of the checkout this package runs from, and whether it differs; None for an installed copy."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", str(here), *words), capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "stats.py") is None:
        return None
    source = ("engine", "export", "bench", "csrc", "CMakeLists.txt", "setup.py")
    top = git("rev-parse", "--show-toplevel")
    changed = git("-C", top, "status", "--porcelain", "--untracked-files=no", "--", *source) if top else None
    return {"id": git("rev-parse", "HEAD"), "dirty": bool(changed)}


@cache
def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release(), "libc": " ".join(platform.libc_ver())}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gpus() -> list[dict[str, str]]:
    """Name, driver, memory and clocks of every NVIDIA GPU, as its own tool tells them."""
    wanted = ("name", "driver_version", "memory.total", "clocks.sm", "clocks.max.sm", "power.limit")
    try:
        done = subprocess.run(
            ("nvidia-smi", f"--query-gpu={','.join(wanted)}", "--format=csv,noheader"),
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode:
        return []
    rows = [line.split(", ") for line in done.stdout.strip().splitlines()]
    return [dict(zip(wanted, row, strict=False)) for row in rows]


def environment() -> dict[str, Any]:
    """Everything a reader needs to judge or repeat a number."""
    memory = re.search(r"MemTotal:\s+(\d+) kB", _read("/proc/meminfo") or "")
    return {
        "cpu": cpu(),
        "clocks": clocks(),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        "gpus": gpus(),
        "versions": versions(),
        "commit": commit(),
        "variables": {name: value for name, value in sorted(os.environ.items())
                      if VARIABLES.match(name) and "/" not in value},
        "load_average": os.getloadavg()[0],
        "python_flags": {"optimize": sys.flags.optimize, "dev_mode": sys.flags.dev_mode},
    }  # fmt: skip
