"""What is installed: how light the import is, what the wheel holds, what a missing tool is told."""

import configparser
import email
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("engine", "export", "bench", "train")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def python(code, **environment):
    """What fresh Python prints, run away from the checkout."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_no_heavy_library():
    loaded = python("import sys, spar_engine; print(*sys.modules)").split()
    heavy = {"torch", "onnxruntime", "onnx", "tokenizers", "PIL", "cuda", "triton", "openvino", "spar_engine._native"}
    assert not heavy & set(loaded)
    assert "spar_engine" in loaded


def test_import_is_quick():
    """Processor time, the least of three, so that a busy machine does not matter."""
    code = "import time; start = time.process_time(); import spar_engine; print(time.process_time() - start)"
    assert min(float(python(code)) for _ in range(3)) < 0.3


def test_every_public_name_is_there():
    python("import spar_engine\nfor name in spar_engine.__all__: getattr(spar_engine, name)")


def test_every_python_file_belongs_to_a_package():
    lost = {path.parent for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    lost = {str(folder.relative_to(ROOT)) for folder in lost if not (folder / "__init__.py").exists()}
    assert not lost, f"without __init__.py these folders are not installed: {sorted(lost)}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, built with the packages at hand."""
    if not all(shutil.which(tool) for tool in ("cmake", "g++")):
        pytest.skip("building the wheel needs cmake and g++ on the path")
    folder = tmp_path_factory.mktemp("wheel")
    with (tmp_path_factory.getbasetemp().parent / "wheel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of one test run build in the same folder of the checkout
        done = subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_packages_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        "spar_" + str(path.relative_to(ROOT))
        for folder in FOLDERS
        for pattern in ("*.py", "*.json", "py.typed", "assets/**/*", "server/static/*")
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file() and (path.suffix == ".py" or pattern != "*.py")
    }
    expected = {name for name in expected if not name.startswith("spar_bench/results/")}
    extension = {name for name in names if name.startswith("spar_engine/_native.")}
    assert len(extension) == 1
    assert names - extension == expected


@pytest.mark.slow
def test_wheel_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    text = {Path(name).name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    metadata = email.message_from_string(text["METADATA"])
    assert metadata["Name"] == "spar-engine"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in text["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) >= {"export", "gpu", "server", "dev"}
    base = {re.match(r"[\w-]+", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert base == {"numpy", "onnxruntime", "tokenizers", "safetensors", "pillow", "rich"}
    commands = configparser.ConfigParser()
    commands.read_string(text["entry_points.txt"])
    assert dict(commands["console_scripts"]) == PROJECT["scripts"]


@pytest.mark.slow
def test_wheel_works_where_it_is_put(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = (
        "import numpy, spar_engine; from spar_engine import _native, preset;"
        "from spar_engine.ops.relu_linear_attention import relu_linear_attention;"
        "x = numpy.ones((1, 1, 2, 4), 'f'); assert (relu_linear_attention(x, x, x) == 1).all();"
        "preset('spar-1b'); print(_native.__file__, spar_engine.__file__)"
    )
    assert all(path.startswith(str(tmp_path)) for path in python(code, PYTHONPATH=str(tmp_path)).split())


def test_commands_exist():
    code = "import importlib\nfor name in {!r}: module, _, call = name.partition(':'); " + (
        "assert callable(getattr(importlib.import_module(module), call)), name"
    )
    python(code.format(list(PROJECT["scripts"].values())))


def failed_build(**environment):
    """The last line that setup.py prints when it cannot build."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("spar-engine cannot be built"))
    return line


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_build_without_a_compiler(tmp_path):
    line = failed_build(PATH=str(tmp_path), CXX="")
    assert "there is no C++ compiler; install g++ 11 or later" in line


def test_build_with_something_that_is_no_compiler(tmp_path):
    assert "is not a gcc or clang C++ compiler" in failed_build(CXX=program(tmp_path, "cxx", "echo hello"))
    assert "CXX=no-such-compiler is not a program" in failed_build(CXX="no-such-compiler")


def test_build_with_an_old_compiler(tmp_path):
    old = program(tmp_path, "g++-9", "echo '#define __GNUC__ 9'")
    assert "is gcc 9, but C++20 kernels need gcc 11" in failed_build(CXX=old)
    old = program(tmp_path, "clang++-10", "echo '#define __GNUC__ 4'; echo '#define __clang_major__ 10'")
    assert "is clang 10, but C++20 kernels need clang 14" in failed_build(CXX=old)


def test_build_without_cmake(tmp_path):
    compiler = program(tmp_path, "g++", "echo '#define __GNUC__ 12'")
    assert "there is no cmake; pip install 'cmake>=3.25' ninja" in failed_build(PATH=str(tmp_path), CXX=compiler)


def test_build_with_an_old_cmake(tmp_path):
    compiler = program(tmp_path, "g++", "echo '#define __GNUC__ 12'")
    program(tmp_path, "cmake", "echo cmake version 3.16.3")
    assert "is version 3.16, but 3.25 is needed" in failed_build(PATH=str(tmp_path), CXX=compiler)


def test_build_without_a_build_tool(tmp_path):
    compiler = program(tmp_path, "g++", "echo '#define __GNUC__ 12'")
    program(tmp_path, "cmake", "echo cmake version 3.31.0")
    assert "there is neither ninja nor make" in failed_build(PATH=str(tmp_path), CXX=compiler)
