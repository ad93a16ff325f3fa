"""What importing the engine brings along, in a process of its own."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnxruntime", "openvino", "tensorrt", "triton", "tokenizers", "PIL", "fastapi", "uvicorn", "nvtx")


def loaded_after(code: str) -> tuple[set[str], float]:
    """Modules that `code` imported, and the processor seconds that it took."""
    program = (f"import sys, time\nbefore, begin = set(sys.modules), time.process_time()\n{code}\n"
               "print(time.process_time() - begin, *set(sys.modules) - before)")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, *names = done.stdout.split()
    return set(names), float(seconds)


def test_the_package_itself_imports_next_to_nothing():
    """60 ms are allowed on a quiet machine; processor time does not count what others take of it."""
    found = [loaded_after("import spar_engine") for _ in range(3)]
    assert not {name.split(".")[0] for names, _ in found for name in names} & {*HEAVY, "numpy", "asyncio"}
    assert min(seconds for _, seconds in found) <= 0.06


@pytest.mark.parametrize("code", ["import spar_engine; spar_engine.load", "import spar_engine.cli"])
def test_what_a_model_is_loaded_with_imports_nothing_that_may_not_be_needed(code):
    names, _ = loaded_after(code)
    assert "spar_engine" in names
    assert not names & {*HEAVY, "asyncio", "ssl", "importlib.metadata", "statistics", "multiprocessing"}
