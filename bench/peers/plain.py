"""Our modules for other libraries: the same weights and exact rewrites, with our operators as plain compositions."""

from __future__ import annotations

from typing import Any

import torch
from spar_engine.modules import cuts
from spar_engine.ops import torch_ops


def plain_cut(component: str, config: Any, weights: Any, dtype: torch.dtype) -> torch.nn.Module:
    """One component in `dtype`, ready to be called or compiled. Our operators would be opaque to a compiler, so
    they are replaced by what they stand for."""
    module = cuts.load(cuts.build(component, config), weights, dtype=dtype)
    return open_operators(cuts.prepare(module).eval())


def open_operators(module: torch.nn.Module) -> torch.nn.Module:
    for part in module.modules():
        if getattr(part, "core", None) is torch_ops.relu_linear_attention:
            part.core = torch_ops.linear_attention
        if getattr(part, "route", None) is torch_ops.dynamic_token_routing:
            part.route = lambda *inputs: torch_ops.route_tokens(*inputs)[-1]
    return module
