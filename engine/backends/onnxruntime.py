"""The ONNX Runtime backend: exported components, one session each, made on first use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..components import Component, components
from ..errors import ArtefactError, BackendError
from . import ort_memory
from .artefacts import Artefacts
from .build import prepared
from .ort_options import DEVICES, PROVIDERS, give_back, missing_tensorrt, run_options, runtime, session_options
from .resident import Resident

if TYPE_CHECKING:
    from ..weights.safetensors import SafetensorsFile

STAYS = frozenset(("keys", "values", "cross_keys", "cross_values"))
"""Outputs that only travel from one call to the next; on a GPU they stay there."""


class OnnxRuntimeBackend:
    """Components as ONNX Runtime sessions.

    weights    a checkpoint or random weights
    artefacts  directory made by `spar-export onnx`; None: the user's cache, where they are made when needed
    precision  "fp32", the only one
    threads    threads of one run; None: the physical cores
    provider   "cpu", "cuda", "tensorrt" (TensorRT 10.x only), or "auto": a GPU where the installed runtime can use one
    errors     MissingDependency without onnxruntime; ArtefactError for artefacts that do not fit; BackendError else
    """

    name = "onnxruntime"

    def __init__(
        self,
        weights: Any,
        *,
        artefacts: str | Path | None = None,
        precision: str = "fp32",
        threads: int | None = None,
        provider: str = "auto",
    ):
        if precision != "fp32":
            raise BackendError(f"onnxruntime: precision={precision!r} is unknown; it has ['fp32']")
        if provider not in ("auto", *PROVIDERS):
            raise BackendError(f"onnxruntime: provider={provider!r} is unknown; it has {['auto', *PROVIDERS]}")
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise BackendError(f"onnxruntime: threads={threads!r} must be a whole number of at least 1")
        self._ort = runtime()
        self.provider = self._choose(provider)
        self.precision = precision
        self.weights, self.config, self.threads = weights, weights.config, threads
        self._cached = artefacts is None
        self._artefacts = None if artefacts is None else Artefacts(artefacts, weights)
        self._specs = components(weights.config)
        self._sessions: dict[tuple[str, bool], Any] = {}
        self._lock = threading.RLock()
        self._closed = False

    def load(self, component: str, taps: bool = False) -> Any:
        """The session of one component, made on first use from verified files."""
        with self._lock:
            if self._closed:
                raise BackendError("onnxruntime: this backend was closed; make a new one")
            if component not in self._specs:
                raise BackendError(f"onnxruntime: component {component!r} is unknown; there are {list(self._specs)}")
            key = component, taps
            if key not in self._sessions:
                self._sessions[key] = self._session(component, *self._files(component, taps))
            return self._sessions[key]

    def unload(self, component: str) -> None:
        """Free one component; its next run loads it again. Runs that have begun end well."""
        with self._lock:
            for taps in (False, True):
                self._sessions.pop((component, taps), None)

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        """Outputs of one component by name, float32; with `taps` also its inner tensors by their golden names.

        Safe from any thread: sessions are shared, and each run has buffers of its own."""
        session = self.load(component, taps)
        spec = self._specs[component]
        spec.check(inputs)
        names = [output.name for output in session.get_outputs()]
        try:
            if self.provider != "cpu":
                return self._run_bound(session, spec, inputs, names)
            given = {name: np.asarray(inputs[name], tensor.dtype) for name, tensor in spec.inputs.items()}
            return dict(zip(names, session.run(names, given, run_options(self._ort, component)), strict=True))
        except Exception as error:
            raise BackendError(f"onnxruntime: {component} failed: {_line(error)}") from error

    def memory(self, component: str, axes: dict[str, int]) -> tuple[int, int]:
        """Bytes of a component's session, and of one run at these sizes; estimates, good to about a factor of two."""
        shapes = {name: self.weights.info(name).shape for name in self.weights.names(component)}
        return ort_memory.weights(shapes), ort_memory.scratch(component, axes, self.config)

    def trim(self) -> None:
        """Give back memory that no run uses."""
        give_back()

    def close(self) -> None:
        """Free everything; a later run is refused."""
        with self._lock:
            self._sessions.clear()
            self._closed = True

    def _choose(self, provider: str) -> str:
        offered = self._ort.get_available_providers()
        if provider == "auto":
            return "cuda" if PROVIDERS["cuda"] in offered else "cpu"
        if PROVIDERS[provider] not in offered:
            raise BackendError(f"onnxruntime: provider={provider!r} is not in the installed build, which has "
                               f"{offered}; pip install onnxruntime-gpu, or use provider='cpu'")  # fmt: skip
        if provider == "tensorrt" and (why := missing_tensorrt()):
            raise BackendError(f"onnxruntime: provider='tensorrt' is refused: {why}; use provider='cuda', or "
                               "backend='tensorrt' with plans of spar-export tensorrt")  # fmt: skip
        return provider

    def _files(self, component: str, taps: bool) -> tuple[bytes, dict[str, SafetensorsFile]]:
        """A component's graph and its weights files. In the cache, what is missing or damaged is made anew."""
        if not self._cached:
            return self._artefacts.graph(component, taps), self._artefacts.files(component)
        if self._artefacts is None or taps:
            self._artefacts = prepared(self.weights, taps)
        try:
            return self._artefacts.graph(component, taps), self._artefacts.files(component)
        except ArtefactError:
            self._artefacts = prepared(self.weights, taps, repair=True)
            return self._artefacts.graph(component, taps), self._artefacts.files(component)

    def _session(self, component: str, graph: bytes, files: dict[str, SafetensorsFile]) -> Any:
        options = session_options(self._ort, component, files, self.threads)
        wanted = PROVIDERS[self.provider]
        below = {"cpu": (), "cuda": ("cpu",), "tensorrt": ("cuda", "cpu")}[self.provider]  # for what it does not take
        providers = [wanted, *(PROVIDERS[name] for name in below)]
        try:
            session = self._ort.InferenceSession(graph, options, providers=providers)
        except Exception as error:
            raise BackendError(f"onnxruntime: {component} cannot be loaded: {_line(error)}") from error
        give_back()
        if session.get_providers()[0] != wanted:
            raise BackendError(f"onnxruntime: {wanted} does not start on this machine (its CUDA or cuDNN libraries are "
                               "missing or of another version); install them, or use provider='cpu'")  # fmt: skip
        return session

    def _run_bound(self, session: Any, spec: Component, inputs: dict[str, Any], names: list[str]) -> dict[str, Any]:
        """A run on a GPU: what stays there is neither copied down nor up again."""
        binding = session.io_binding()
        for name, tensor in spec.inputs.items():
            if isinstance(inputs[name], Resident):
                binding.bind_ortvalue_input(name, inputs[name].value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(inputs[name], tensor.dtype))
        for name in names:
            binding.bind_output(name, DEVICES[self.provider] if name in STAYS else "cpu")
        session.run_with_iobinding(binding)
        outputs = zip(names, binding.get_outputs(), strict=True)
        return {name: Resident(value) if name in STAYS else value.numpy() for name, value in outputs}


def _line(error: Exception) -> str:
    """The first line of a message of the runtime."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
