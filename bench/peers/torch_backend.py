"""PyTorch as a backend of the engine: eager or compiled, on the CPU or on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from spar_engine.components import components

from .plain import plain_cut
from .torch_peer import DTYPES, compiled

STAYS = frozenset(("keys", "values", "cross_keys", "cross_values"))  # travel from call to call as tensors
GROWING = frozenset(("language",))  # another length at every token


class TorchPeerBackend:
    """Components as torch modules.

    compile  False; True: torch.compile with freezing, one graph for each set of shapes; "cuda-graphs": captured and
             replayed; "max-autotune": inductor searches for the best kernels (the last two on a GPU)
    """

    def __init__(self, name: str, weights: Any, precision: str, threads: int, *, mode: str = "eager", device="cpu"):
        self.name, self.precision, self.weights, self.config = name, precision, weights, weights.config
        self.mode, self.device, self.dtype = mode, torch.device(device), DTYPES[precision]
        self._specs = components(weights.config)
        self._ready: dict[str, Any] = {}
        torch.set_num_threads(threads)

    def load(self, component: str) -> Any:
        if component not in self._ready:
            module = plain_cut(component, self.config, self.weights, self.dtype).to(self.device)
            self._ready[component] = self._faster(component, module)
        return self._ready[component]

    def _faster(self, component: str, module: torch.nn.Module) -> Any:
        if self.mode == "eager":
            return module
        dynamic = None if component in GROWING else False
        if self.mode == "compile":
            return compiled(module, dynamic=dynamic)
        if self.mode == "max-autotune":
            return torch.compile(module, mode="max-autotune", dynamic=dynamic)
        from .cuda_graph import Replayed

        return module if component in GROWING else Replayed(module)

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        spec, module = self._specs[component], self.load(component)
        given = [self._to(inputs[name], tensor.exact) for name, tensor in spec.inputs.items()]
        with torch.inference_mode():
            outputs = module(*given)
        # inductor's own graphs take back what they returned at their next call
        kept = torch.clone if self.mode == "max-autotune" else lambda value: value
        return {name: kept(value) if name in STAYS else self._from(value)
                for name, value in zip(spec.outputs, outputs, strict=True)}  # fmt: skip

    def unload(self, component: str) -> None:
        self._ready.pop(component, None)

    def close(self) -> None:
        self._ready.clear()

    def _to(self, value: Any, exact: bool) -> torch.Tensor:
        tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(value))
        kind = self.dtype if tensor.is_floating_point() and not exact else tensor.dtype
        return tensor.to(device=self.device, dtype=kind)

    @staticmethod
    def _from(tensor: torch.Tensor) -> np.ndarray:
        return (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()


def open_backend(name: str, precision: str, weights: Any, threads: int) -> TorchPeerBackend:
    """Peers torch-eager, torch-compile and, on a GPU, torch-cuda-graphs and torch-max-autotune."""
    mode, device = {
        "torch-eager": ("eager", "cpu"), "torch-compile": ("compile", "cpu"), "torch-cuda": ("eager", "cuda"),
        "torch-cuda-graphs": ("cuda-graphs", "cuda"), "torch-max-autotune": ("max-autotune", "cuda"),
    }[name]  # fmt: skip
    return TorchPeerBackend(name, weights, precision, threads, mode=mode, device=device)
