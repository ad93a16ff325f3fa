"""The PyTorch backend: the modules that export traces, run as they are. Oracle of every other backend."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch

from ..components import components
from ..errors import BackendError
from ..modules import cuts
from ..modules.tap import taps as recording

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


class TorchBackend:
    """Components as torch modules, each loaded on its first run.

    weights    a checkpoint or random weights
    precision  "fp32", "bf16", "fp16", or "fp64" for oracles; parameters and arithmetic
    device     any torch device; the seam stays numpy
    threads    of torch, for the whole process; None leaves torch's setting
    """

    name = "torch"

    def __init__(
        self,
        weights: Any,
        *,
        precision: str = "fp32",
        device: str = "cpu",
        threads: int | None = None,
    ):
        if precision not in PRECISIONS:
            raise BackendError(f"torch: precision={precision!r} is unknown; it has {sorted(PRECISIONS)}")
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendError(f"torch: device={device!r} needs a CUDA GPU and a CUDA build of torch; use device='cpu'")
        self.weights = weights
        self.precision = precision
        self.device = torch.device(device)
        self._dtype = PRECISIONS[precision]
        self._specs = components(weights.config)
        self._modules: dict[str, torch.nn.Module] = {}
        self._lock = threading.RLock()
        self._closed = False
        if threads is not None:
            torch.set_num_threads(threads)

    def load(self, component: str) -> torch.nn.Module:
        """The module of one component, built and filled on first use."""
        with self._lock:
            if self._closed:
                raise BackendError("torch: this backend was closed; make a new one")
            if component not in self._modules:
                module = cuts.build(component, self.weights.config)
                cuts.load(module, self.weights, dtype=self._dtype, device=self.device)
                self._modules[component] = cuts.prepare(module)
            return self._modules[component]

    def unload(self, component: str) -> None:
        """Free one component; its next run loads it again."""
        with self._lock:
            self._modules.pop(component, None)

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, np.ndarray]:
        """Outputs of one component by name, float32; with `taps` also its inner tensors by their golden names."""
        spec = self._specs[component]
        spec.check(inputs)
        module = self.load(component)
        given = [self._to(np.asarray(inputs[name]), tensor.exact) for name, tensor in spec.inputs.items()]
        with torch.inference_mode():
            if not taps:
                outputs, seen = module(*given), {}
            else:
                with recording() as seen:
                    outputs = module(*given)
        named = dict(zip(spec.outputs, outputs, strict=True))
        return {name: self._from(value) for name, value in (seen | named).items()}

    def close(self) -> None:
        """Free everything; a later run is refused."""
        with self._lock:
            self._modules.clear()
            self._closed = True

    def _to(self, array: np.ndarray, exact: bool) -> torch.Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        return tensor.to(self._dtype) if tensor.is_floating_point() and not exact else tensor

    def _from(self, tensor: torch.Tensor) -> np.ndarray:
        wanted = torch.float64 if self._dtype == torch.float64 else torch.float32
        return (tensor.to(wanted) if tensor.is_floating_point() else tensor).cpu().numpy()
