# Every target sets up what it needs in $(VENV): Python 3.11 or later and g++ 11 or later are enough to start.
PYTHON ?= python3
VENV ?= .venv
# Asked for first and exactly so: other requests for torch can pull in gigabytes of GPU libraries.
TORCH ?= torch==2.13.0
# Only for cuda-check: 273 MiB. Its dependencies are not wanted.
TRITON ?= triton==3.8.0
JOBS ?= 2

RUN := $(VENV)/bin
PIP := $(RUN)/python -m pip --disable-pip-version-check install
NATIVE := CMakeLists.txt setup.py $(shell find csrc -name '*.cpp' -o -name '*.h')
say = @echo "make: $(1)"

.DELETE_ON_ERROR:
.PHONY: help setup demo test lint format bench build sanitize cuda-check clean

help:
	@echo "make demo      all five tasks on real prompts and pictures; results in demo/"
	@echo "make test      lint, then every test, with line coverage"
	@echo "make lint      ruff"
	@echo "make format    ruff, changing files"
	@echo "make bench     the three-minute subset of the benchmarks; refreshes docs/performance.md"
	@echo "make gpu-check on a GPU machine, with its own torch: builds, checks and times everything; GPU_JSON is written"
	@echo "make build     the wheel, in dist/"
	@echo "make sanitize  the native tests under the address, undefined-behaviour and thread sanitizers"
	@echo "make cuda-check  CUDA kernels: compiled for every target, run on the CPU against their equations; needs nvcc"
	@echo "make capi      libspar, the library for C; prints its folder"
	@echo "make setup     only the environment, in $(VENV)/"
	@echo "make clean     removes what was built, but not $(VENV)/"

# What cannot be set up here is said before anything is fetched.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: $(PYTHON) is missing or older than 3.11; make PYTHON=/path/to/python3.11"; exit 1; }
	@command -v $${CXX:-g++} >/dev/null || \
	  { echo "make: there is no C++ compiler; install g++ 11 or later (apt install g++) or set CXX"; exit 1; }
	$(call say,creating $(VENV))
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.torch: $(VENV)/.python
	$(call say,fetching $(TORCH) (some minutes on a slow line))
	@$(PIP) "$(TORCH)"
	@touch $@

$(VENV)/.tools: pyproject.toml $(VENV)/.torch
	$(call say,fetching the build tools)
	@$(RUN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" > $(VENV)/build-requires.txt
	@$(PIP) -q -r $(VENV)/build-requires.txt
	@touch $@

$(VENV)/.native: $(NATIVE) $(VENV)/.tools
	$(call say,building the native kernels (some minutes the first time))
	@PATH="$(CURDIR)/$(RUN):$$PATH" $(RUN)/python setup.py -q build_ext --inplace --parallel $(JOBS)
	@touch $@

# The kernels are built before, where their progress shows; pip then only finds them done.
$(VENV)/.packages: pyproject.toml setup.py | $(VENV)/.native
	$(call say,fetching the other packages and installing this checkout (about a minute))
	@PATH="$(CURDIR)/$(RUN):$$PATH" $(PIP) -q --no-build-isolation -e ".[dev]"
	@$(PIP) -q --no-deps kernel-lens==2.0.1  # headers of TensorRT, to test the plugins; what it depends on is not needed
	@touch $@

setup: $(VENV)/.native $(VENV)/.packages

demo: setup
	@$(RUN)/python -m spar_engine.demo

test: setup lint
	@OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n $(JOBS) --cov --cov-report=term:skip-covered

lint: $(VENV)/.packages
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check --quiet . || { echo "make: the files above are not formatted; make format"; exit 1; }

format: $(VENV)/.packages
	@$(RUN)/ruff check --fix .
	@$(RUN)/ruff format .

bench: setup
	@$(RUN)/spar-bench refresh

build: setup
	@PATH="$(CURDIR)/$(RUN):$$PATH" $(RUN)/python -m pip --disable-pip-version-check wheel -q --no-deps --no-build-isolation -w dist .

.PHONY: capi
capi: setup
	@PATH="$(CURDIR)/$(RUN):$$PATH" csrc/c_api/build

sanitize: setup
	@for kind in address,undefined thread; do \
	  PATH="$(CURDIR)/$(RUN):$$PATH" csrc/tests/sanitize "$$kind" || exit 1; \
	done

$(VENV)/.triton: $(VENV)/.packages
	$(call say,fetching $(TRITON))
	@$(PIP) -q --no-deps "$(TRITON)"
	@touch $@

cuda-check: setup $(VENV)/.triton
	@$(RUN)/python csrc/cuda/check.py --report bench/results/cuda/resources.json
	@PATH="$(CURDIR)/$(RUN):$$PATH" CMAKE_BUILD_PARALLEL_LEVEL=$(JOBS) $(RUN)/python csrc/cuda/whole.py build/cuda-check
	@OMP_NUM_THREADS=1 $(RUN)/python -m pytest tests/cuda tests/triton tests/export/test_triton_aot.py

# Runs from a copied tree with what the machine's own $(PYTHON) has; nothing is installed or fetched.
GPU_JSON ?= build/gpu-check/result.json
.PHONY: gpu-check
gpu-check:
	@mkdir -p build/gpu-check/path
	@for folder in engine export bench train; do ln -sfn "$(CURDIR)/$$folder" "build/gpu-check/path/spar_$$folder"; done
	@PYTHONPATH="$(CURDIR)/build/gpu-check/path" $(PYTHON) -m spar_bench.gpu_check --json "$(GPU_JSON)"

clean:
	rm -rf build dist *.egg-info engine/_native*.so engine/_cuda*.so $(VENV)/.native .coverage .pytest_cache .ruff_cache
