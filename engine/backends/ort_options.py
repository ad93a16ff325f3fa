"""How ONNX Runtime is set up."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependency

if TYPE_CHECKING:
    from ..weights.safetensors import SafetensorsFile

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
DEVICES = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "cuda"}
"""Where the values of a provider lie."""
TENSORRT = "libnvinfer.so.10"
"""What the TensorRT provider is linked against: no other major version of TensorRT serves it."""


def missing_tensorrt() -> str | None:
    """Why the TensorRT provider cannot start on this machine, by the libraries alone; None: they are there."""
    try:
        ctypes.CDLL(TENSORRT)
    except OSError:
        return f"it needs TensorRT 10.x, and {TENSORRT} is not here; TensorRT 11 and TensorRT-RTX do not serve it"
    return None


def runtime() -> Any:
    """The onnxruntime package; its warnings about unused initializers and the like are kept quiet."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(f"backend='onnxruntime' needs the package onnxruntime ({error}); "
                                "pip install onnxruntime") from None  # fmt: skip
    return onnxruntime


def session_options(ort: Any, component: str, files: dict[str, SafetensorsFile], threads: int | None) -> Any:
    """Options of a component's session.

    files  its weights by the names that the graph gives them. The session reads the opened and verified files through
           their mappings, not by name, where another file could lie by now; keep them until it is made
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    mapped = [file.content() for file in files.values()]
    if files:
        options.add_external_initializers_from_files_in_memory(list(files), mapped, [len(each) for each in mapped])
    # Threads of a session that just ran must not take time from the session that runs next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # It would copy the cross keys and values of all blocks at the start of a DiT step: 0.15 GB for nothing.
    options.add_session_config_entry("optimization.disable_specified_optimizers", "GatherSliceToSplitFusion")
    if component == "lm_head":  # one matrix and few rows: packing would hold it twice while loading, and gains nothing
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


ONCE = frozenset(("vision", "condition", "context", "modulation", "streams", "decoder"))
"""Components that run once for a picture. Their scratch memory is given back; touching it anew at each step of the
others would take longer than it is worth."""


def run_options(ort: Any, component: str) -> Any:
    """Options of one run on the CPU."""
    options = ort.RunOptions()
    if component in ONCE:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def give_back() -> None:
    """Return freed memory to the system. After a load the allocator of glibc holds as much as the weights once more."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
