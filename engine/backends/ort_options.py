"""How ONNX Runtime is set up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import MissingDependency

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def runtime() -> Any:
    """The onnxruntime package; its warnings about unused initializers and the like are kept quiet."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(f"backend='onnxruntime' needs the package onnxruntime ({error}); "
                                "pip install onnxruntime") from None  # fmt: skip
    return onnxruntime


def session_options(ort: Any, folder: Path, threads: int | None) -> Any:
    """Options of a session whose weights lie in `folder`."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    # Threads of a session that just ran must not take time from the session that runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def run_options(ort: Any, provider: str) -> Any:
    """Options of one run: what a large picture needed is given back afterwards."""
    options = ort.RunOptions()
    if provider == "cpu":
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
