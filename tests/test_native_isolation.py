"""Machine code for one instruction set must not be reachable on a processor without it."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from spar_engine import _native

ROOT = Path(__file__).parents[1]
OBJECTS = ROOT / "build" / f"cmake-{sysconfig.get_config_var('SOABI')}" / "CMakeFiles" / "spar_cpu.dir" / "csrc"
ISA = re.compile(r"(^|_)(avx2|avx512|avx512_vnni|avx512_bf16|amx|amx_int8|amx_bf16)\.cpp\.o$")
SOURCES = [path for path in (ROOT / "csrc").rglob("*.cpp") if ISA.search(f"{path.name}.o")]


def shared_symbols(path):
    """Names that the linker may take from this file on behalf of any other: weak and unique definitions."""
    listed = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    return {match[2] for match in re.finditer(r"^\S* ([WVu]) (.*)$", listed, re.M)}


@pytest.mark.skipif(not OBJECTS.exists() or not shutil.which("nm"), reason="needs the build folder and nm")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "csrc")))
def test_files_of_one_instruction_set_share_nothing(source):
    """An inline function compiled with -mavx512f could become the copy that every file calls.

    What such a file defines must be named after its instruction set, or be known to itself only."""
    compiled = OBJECTS / f"{source.relative_to(ROOT / 'csrc')}.o"
    if not compiled.exists():
        pytest.skip("not compiled for this processor")
    isa = ISA.search(compiled.name)[2]
    shared = {name for name in shared_symbols(compiled) if f"::{isa}::" not in name}
    assert not shared, f"put into an anonymous namespace, or in one named {isa}: {sorted(shared)[:5]}"


def isas(**environment):
    done = subprocess.run(
        [sys.executable, "-c", "from spar_engine import _native; print(*_native.isas())"],
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    return done.stdout.split() if done.returncode == 0 else done.stderr.splitlines()[-1]


def test_the_environment_caps_the_instruction_sets():
    everything = isas(SPAR_ISA="")
    assert everything[0] == "scalar"
    for position, name in enumerate(everything):
        assert isas(SPAR_ISA=name) == everything[: position + 1]


def test_an_instruction_set_that_is_not_there_is_refused():
    assert re.search(
        r"BackendError: SPAR_ISA=sse9 is not an instruction set of this machine; it has scalar", isas(SPAR_ISA="sse9")
    )
    missing = {"avx2", "avx512", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"} - set(_native.isas())
    for name in missing:
        assert f"SPAR_ISA={name} is not" in isas(SPAR_ISA=name)
