"""The tests of the project that need a GPU, but for those that are stages of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from .stages import Rows

ROOT = Path(__file__).resolve().parents[2]
FILES = ("tests/cuda/test_on_gpu.py", "tests/gpu/test_gpu.py::test_a_captured_picture_is_the_one_without_graphs")


class Outcomes:
    """A pytest plugin: a row for every test."""

    def __init__(self, rows: Rows):
        self.rows = rows

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.skipped:
            self.rows.add(report.nodeid, ok=None, reason=str(report.longrepr)[-300:])
        elif report.when == "call" or report.failed:
            error = {} if report.passed else {"error": str(report.longrepr)[-500:]}
            self.rows.add(report.nodeid, ok=report.passed, **error)


def main(path: str) -> int:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # whatever else the machine has installed for pytest
    import pytest

    rows = Rows(path)
    code = pytest.main(["-q", "--rootdir", str(ROOT), "-o", f"cache_dir={ROOT / 'build' / 'gpu-check' / 'pytest'}",
                        "-m", "gpu", *(str(ROOT / file) for file in FILES)], plugins=[Outcomes(rows)])  # fmt: skip
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        rows.add("pytest", ok=False, error=f"ended with {pytest.ExitCode(code).name}")
    return rows.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[-1]))
