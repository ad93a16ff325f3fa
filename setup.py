"""Folder X/ installs as package spar_X; CMake builds the native kernels into spar_engine._native."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
FOLDERS = ("engine", "export", "bench", "train")
CUDA = os.environ.get("SPAR_CUDA", "0") == "1"
LEAST_GCC, LEAST_CLANG, LEAST_CMAKE = 11, 14, (3, 25)


def packages() -> dict[str, str]:
    """Package name -> folder, for every folder that holds Python files."""
    found = {}
    for folder in FOLDERS:
        for init in sorted((ROOT / folder).rglob("__init__.py")):
            parts = init.parent.relative_to(ROOT).parts
            found[".".join((f"spar_{parts[0]}", *parts[1:]))] = "/".join(parts)
    return found


def stop(problem: str) -> None:
    raise SystemExit(f"spar-engine cannot be built: {problem}")


def output_of(*command: str) -> str:
    """What a command prints, or nothing when it cannot run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    except OSError:
        return ""


def find_compiler() -> str:
    """A C++ compiler that is new enough: $CXX, else the first of the usual names."""
    remedy = f"install g++ {LEAST_GCC} or later (apt install g++, dnf install gcc-c++) or set CXX"
    asked = os.environ.get("CXX")
    name = asked or next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)
    if name is None:
        stop(f"there is no C++ compiler; {remedy}")
    path = shutil.which(name)
    if path is None:
        stop(f"CXX={name} is not a program; {remedy}")
    macros = dict(re.findall(r"#define (\w+) (.*)", output_of(path, "-dM", "-E", "-x", "c++", "/dev/null")))
    for macro, kind, least in (("__clang_major__", "clang", LEAST_CLANG), ("__GNUC__", "gcc", LEAST_GCC)):
        if macro in macros:
            if int(macros[macro]) < least:
                stop(f"{name} is {kind} {macros[macro]}, but C++20 kernels need {kind} {least}; {remedy}")
            return str(Path(path).absolute())
    return stop(f"{name} is not a gcc or clang C++ compiler; {remedy}")


def find_cmake() -> str:
    """A CMake that is new enough; installing through pip brings one along."""
    remedy = "pip install 'cmake>=3.25' ninja"
    path = shutil.which("cmake")
    version = re.search(r"cmake version (\d+)\.(\d+)", output_of(path, "--version")) if path else None
    if version is None:
        stop(f"there is no cmake; {remedy}")
    if tuple(map(int, version.groups())) < LEAST_CMAKE:
        stop(f"{path} is version {version[1]}.{version[2]}, but {'.'.join(map(str, LEAST_CMAKE))} is needed; {remedy}")
    return path


def find_generator() -> list[str]:
    for program, generator in (("ninja", "Ninja"), ("make", "Unix Makefiles")):
        if path := shutil.which(program):
            return ["-G", generator, f"-DCMAKE_MAKE_PROGRAM={path}"]
    return stop("there is neither ninja nor make; pip install ninja")


def cuda_arguments() -> list[str]:
    """CMake's arguments about CUDA; adds the linker's search path that NVIDIA's wheels need."""
    if not CUDA:
        return ["-DSPAR_CUDA=OFF"]
    sys.path.insert(0, str(ROOT / "csrc/cuda"))
    from nvcc import REMEDY, find_nvcc, libraries

    nvcc = find_nvcc()
    if nvcc is None:
        stop(f"SPAR_CUDA=1, but there is no nvcc; {REMEDY}")
    if folder := libraries(nvcc):
        os.environ["LIBRARY_PATH"] = os.pathsep.join(filter(None, (folder, os.environ.get("LIBRARY_PATH"))))
    return ["-DSPAR_CUDA=ON", f"-DCMAKE_CUDA_COMPILER={nvcc}"]


def pybind11_folder() -> str:
    try:
        import pybind11
    except ImportError:
        stop("there is no pybind11; pip install 'pybind11>=2.13'")
    return pybind11.get_cmake_dir()


@contextlib.contextmanager
def only_one(folder: Path):
    """Keeps two builds out of one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            import fcntl
        except ImportError:
            pass
        else:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class CMakeBuild(build_ext):
    """Configures and builds CMakeLists.txt in build/cmake-<python tag>, which later builds reuse."""

    def build_extension(self, ext: Extension) -> None:
        compiler, cmake, generator = find_compiler(), find_cmake(), find_generator()
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        folder = ROOT / "build" / f"cmake-{sysconfig.get_config_var('SOABI') or sys.implementation.cache_tag}"
        jobs = self.parallel or int(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", 2))
        with only_one(folder):
            self.start_again_unless_same(
                folder, CMAKE_GENERATOR=generator[1], CMAKE_CXX_COMPILER=compiler, CMAKE_HOME_DIRECTORY=ROOT
            )
            configure = [cmake, "-S", ROOT, "-B", folder, *generator, f"-DCMAKE_CXX_COMPILER={compiler}",
                         f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11_folder()}",
                         "-DSPAR_PYTHON=ON", *cuda_arguments(), "-Wno-dev", "--log-level=WARNING"]  # fmt: skip
            self.call(configure)
            module = ext.name.rpartition(".")[2]
            self.call([cmake, "--build", folder, "--target", module, "--parallel", str(jobs)])
            built = folder / target.name
            target.parent.mkdir(parents=True, exist_ok=True)
            # Aside and rename: a running process keeps the file it has mapped.
            aside = target.with_name(f".{target.name}.new")
            shutil.copy2(built, aside)
            os.replace(aside, target)

    def call(self, command: list) -> None:
        if subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL).returncode:
            stop(f"`{' '.join(map(str, command))}` failed, see above")

    @staticmethod
    def start_again_unless_same(folder: Path, **settings) -> None:
        """CMake cannot change these settings of a folder; when one differs, the folder starts again."""
        cache = folder / "CMakeCache.txt"
        if not cache.exists():
            return
        lines = cache.read_text()
        if not all(
            re.search(f"^{name}:[A-Z]+={re.escape(str(value))}$", lines, re.M) for name, value in settings.items()
        ):
            cache.unlink()
            shutil.rmtree(folder / "CMakeFiles", ignore_errors=True)


class NativeFirst(build):
    """A missing compiler is reported before anything is copied, and files of an earlier build do not stay behind."""

    sub_commands = sorted(build.sub_commands, key=lambda command: command[0] != "build_ext")

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(
    packages=sorted(packages()),
    package_dir=packages(),
    package_data={
        "": ["*.json"],
        "spar_engine": ["py.typed", "assets/**/*", "server/static/*"],
        "spar_engine.config": ["presets/*.json"],
    },
    ext_modules=[Extension(f"spar_engine.{name}", sources=[]) for name in ("_native", *(("_cuda",) if CUDA else ()))],
    cmdclass={"build": NativeFirst, "build_ext": CMakeBuild},
)
