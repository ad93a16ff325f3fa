"""The example in C: compiled by a C compiler, run without Python, compared with Python."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import spar_engine

ROOT = Path(__file__).parents[2]
PROMPT, QUESTION = "three yellow stars on a navy background", "How many stars are there?"


@pytest.fixture(scope="module")
def program(built, tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("example") / "draw"
    done = subprocess.run([compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", f"-I{ROOT}/csrc/include",
                           ROOT / "csrc/examples/draw.c", f"-L{built}", "-lspar", "-o", path],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


def run(program, built, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(built)})  # fmt: skip


def test_the_same_picture_and_answer_as_python(program, built, nano, tmp_path):
    done = run(program, built, nano, PROMPT, QUESTION, tmp_path / "picture.ppm")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("step ")[1:] == [f"{step} of 8\n" for step in range(1, 9)]
    with spar_engine.load(str(nano), backend="native", precision="bf16") as engine:
        picture = engine.generate(PROMPT, seed=7, num_inference_steps=8).pictures[0].pixels
        answer = engine.ask(picture, QUESTION, max_new_tokens=32).text
    assert done.stdout == answer + "\n"
    data = (tmp_path / "picture.ppm").read_bytes()
    header = f"P6\n{picture.shape[1]} {picture.shape[0]}\n255\n".encode()
    assert data.startswith(header)
    assert np.array_equal(np.frombuffer(data[len(header) :], np.uint8).reshape(picture.shape), picture)


def test_its_errors(program, built, nano, tmp_path):
    done = run(program, built, tmp_path, "x", "y", tmp_path / "z.ppm")
    assert done.returncode == 1
    assert re.search("holds neither model.safetensors nor", done.stderr)
    done = run(program, built, nano, "<img>", "y", tmp_path / "z.ppm")
    assert done.returncode == 1
    assert "prompt holds the special token <img> at character 0" in done.stderr
    assert not (tmp_path / "z.ppm").exists()


@pytest.mark.skipif(not shutil.which("ldd"), reason="there is no ldd")
def test_no_python_in_it(program, built):
    needed = subprocess.run(["ldd", built / "libspar.so"], capture_output=True, text=True).stdout
    assert "libstdc++" in needed
    assert "python" not in needed.replace(sysconfig.get_paths()["purelib"], "").replace(str(ROOT), "")
