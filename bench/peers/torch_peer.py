"""PyTorch, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .base import Arrays

WIDE = False  # live arrays of a kernel are float32, whatever the row's dtype

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """A tensor over the same memory; bf16 bits in uint16 become bfloat16."""
    tensor = torch.from_numpy(array)
    return tensor.view(torch.bfloat16) if array.dtype == np.uint16 else tensor


def array_of(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().float().numpy().copy() if tensor.is_floating_point() else tensor.numpy().copy()


class BoundCall:
    """A function over fixed tensors; torch allocates the results."""

    def __init__(self, function: Callable[..., Any], inputs: dict[str, Any], names: tuple[str, ...]):
        self.function, self.inputs, self.names = function, inputs, names
        self.results: tuple[torch.Tensor, ...] = ()

    def run(self) -> None:
        with torch.inference_mode():
            results = self.function(**self.inputs)
        self.results = results if isinstance(results, tuple) else (results,)

    def outputs(self) -> Arrays:
        return {name: array_of(result) for name, result in zip(self.names, self.results, strict=True)}

    def live(self) -> Arrays:
        return {}


class Frozen(torch.nn.Module):
    """An op whose weights are constants of the module, so that a compiler may fold and pack them."""

    def __init__(self, plain: Callable[..., Any], constants: dict[str, Any]):
        super().__init__()
        self.plain, self.numbers = plain, {}
        for name, value in constants.items():
            if isinstance(value, torch.Tensor):
                self.register_parameter(name, torch.nn.Parameter(value, requires_grad=False))
            else:
                self.numbers[name] = value

    def forward(self, **changing: torch.Tensor) -> Any:
        return self.plain(**changing, **dict(self.named_parameters(recurse=False)), **self.numbers)


def compiled(function: Callable[..., Any], *, dynamic: bool | None = False) -> Callable[..., Any]:
    """torch.compile as a user who wants speed would call it for inference."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(function, dynamic=dynamic)


def kernel(name: str, work: Any, threads: int) -> Callable[[Arrays], BoundCall]:
    """From a `Work` to a function that binds live arrays of its changing inputs, stored in the row's dtype."""
    torch.set_num_threads(threads)
    case, inputs = work.case, work.inputs(0)
    half = torch.bfloat16 if any(isinstance(v, np.ndarray) and v.dtype == np.uint16 for v in inputs.values()) else None
    constants = {key: _constant(value, half) for key, value in inputs.items() if key not in case.changing}
    module = Frozen(_as_result(case.plain, work.result_dtype), constants).eval()
    function = compiled(module) if name == "torch-compile" else module
    return lambda live: BoundCall(function, {key: tensor_of(value) for key, value in live.items()}, ("out",))


def _as_result(plain: Callable[..., Any], dtype: str) -> Callable[..., Any]:
    """Ops on a float32 stream give what the next product reads."""
    return plain if dtype == "f32" else lambda **inputs: plain(**inputs).to(torch.bfloat16)


def _constant(value: Any, half: torch.dtype | None) -> Any:
    """Weights in the row's type, as a model converted with .to(bfloat16) has them."""
    if not isinstance(value, np.ndarray):
        return value
    return tensor_of(value).to(half) if half is not None else tensor_of(value)
