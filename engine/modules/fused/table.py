"""The fused operators in plain torch: what every faster implementation must equal, and the one of last resort.

Methods take and return tensors; results may be views of another layout. `half` is the type of what feeds a product;
the residual stream, modulation, tables and vectors are float32. Sources: spec 2.3, 4.5, 6.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from ...errors import BackendError, InputError
from ...ops.torch_ops import linear_attention, route_tokens, wide
from ..layers import join_heads, split_heads
from .linear import Quantized, to_e4m3

OPS = (
    "relu_linear_attention",
    "cross_attention",
    "layer_norm_modulate",
    "gate_residual",
    "gate_residual_norm",
    "quantize_rows",
    "glumbconv_core",
    "guide_and_step",
    "clamp_resize_uint8",
    "dynamic_token_routing",
)


PROJECTED = ("project_cross_attention", "project_gate_residual")
"""Operators that an implementation may have beside `OPS`; `Composed` makes them of a product and one of those."""


class Unsupported(Exception):
    """An implementation has no kernel for this call; nothing was computed."""


class Composed:
    """Operators with a product in them, made of the product and the operator without it."""

    def project_cross_attention(
        self, x: torch.Tensor, product: Any, heads: int, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """`cross_attention` of the queries product(x), x [batch, tokens, width] -> [batch, tokens, width]."""
        query = split_heads(product(x if product.eight else x.to(self.half)), heads)
        return join_heads(self.cross_attention(query, keys, values, lengths))

    def project_gate_residual(self, x: torch.Tensor, y: torch.Tensor, product: Any, gate: torch.Tensor) -> torch.Tensor:
        """`gate_residual` of x and product(y)."""
        return self.gate_residual(x, product(y), gate)


class Dispatched(Composed):
    """Each operator by the first implementation that can run a call.

    implementations  name -> object with some of the operators, best first; the last one has them all
    used             operator -> names of the implementations that have answered a call of it
    """

    def __init__(self, implementations: dict[str, Any]):
        self.implementations = implementations
        self.half = list(implementations.values())[-1].half
        self.used: dict[str, set[str]] = {op: set() for op in (*OPS, *PROJECTED)}
        for op in OPS:
            able = [(name, getattr(each, op)) for name, each in implementations.items() if hasattr(each, op)]
            setattr(self, op, partial(self._call, op, able))

    def project_cross_attention(self, *arguments: Any) -> torch.Tensor:
        return self._projected("project_cross_attention", *arguments)

    def project_gate_residual(self, *arguments: Any) -> torch.Tensor:
        return self._projected("project_gate_residual", *arguments)

    def _projected(self, op: str, *arguments: Any) -> torch.Tensor:
        """By an implementation that has the product inside, else composed of what answers each part."""
        for name, each in self.implementations.items():
            if hasattr(each, op) and not isinstance(each, Composed):
                with contextlib.suppress(Unsupported, InputError):
                    answer = getattr(each, op)(*arguments)
                    self.used[op].add(name)
                    return answer
        return getattr(super(), op)(*arguments)

    def _call(self, op: str, able: list[tuple[str, Any]], *arguments: Any) -> Any:
        for name, call in able:
            try:
                answer = call(*arguments)
            except (Unsupported, InputError):
                continue
            self.used[op].add(name)
            return answer
        raise BackendError(f"cuda: no implementation of {op} takes this call; it has {[name for name, _ in able]}")


class TorchOps(Composed):
    """Every operator as a composition of torch functions."""

    def __init__(self, half: torch.dtype = torch.bfloat16):
        self.half = half

    def relu_linear_attention(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """[batch, heads, tokens, head_dim] each -> the same."""
        return linear_attention(query, key, value)

    def cross_attention(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """query [batch, heads, tokens, head_dim], keys and values [batch, heads, keys, head_dim]; entry b looks at its
        first lengths[b] keys, at least one."""
        places = torch.arange(keys.shape[2], device=keys.device)
        seen = (places < lengths.unsqueeze(1))[:, None, None]
        return F.scaled_dot_product_attention(query, keys, values, attn_mask=seen)

    def layer_norm_modulate(
        self, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, eight: bool = False
    ) -> torch.Tensor | Quantized:
        """x [batch, tokens, width]; shift, scale [batch, width] float32 -> norm(x) * (1 + scale) + shift in `half`, or
        with `eight` as `quantize_rows` gives it."""
        normal = F.layer_norm(_wide(x), x.shape[-1:], eps=eps)
        moved = normal * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
        return to_e4m3(moved) if eight else moved.to(self.half)

    def quantize_rows(self, x: torch.Tensor) -> Quantized:
        """x [..., width] in e4m3, a scale for each row."""
        return to_e4m3(x)

    def gate_residual(self, x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        """x [batch, tokens, width] + gate [batch, width] * y, in the type of x; no gate: x + y."""
        branch = _wide(y)
        return (_wide(x) + (branch if gate is None else gate.unsqueeze(1) * branch)).to(x.dtype)

    def gate_residual_norm(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        gate: torch.Tensor | None,
        shift: torch.Tensor,
        scale: torch.Tensor,
        eps: float,
        eight: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | Quantized]:
        """`gate_residual`, and `layer_norm_modulate` of what it gives."""
        total = self.gate_residual(x, y, gate)
        return total, self.layer_norm_modulate(total, shift, scale, eps, eight)

    def glumbconv_core(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """x [batch, rows, columns, 2 * hidden], weight [9, 2 * hidden], bias [2 * hidden] float32 -> [..., hidden]."""
        picture = F.silu(_wide(x)).movedim(-1, 1)
        kernel = _wide(weight).t().unflatten(1, (1, 3, 3))
        value, gate = F.conv2d(picture, kernel, _wide(bias), padding=1, groups=kernel.shape[0]).chunk(2, dim=1)
        return (value * F.silu(gate)).movedim(1, -1).to(x.dtype)

    def guide_and_step(
        self,
        velocity: torch.Tensor,
        guidance: torch.Tensor,
        table: torch.Tensor,
        latent: torch.Tensor,
        data: torch.Tensor,
        step: int,
    ) -> None:
        """Guidance and one solver step; `latent` and `data` [images, size] float32 change in place.

        velocity  [branches, images, size], the unconditional branch first
        guidance  [images]; table [steps, 4]: sigma, a, b, c of every step
        data      the prediction of the step before, then of this one
        """
        sigma, a, b, c = table[step].unbind()
        guided = _wide(velocity[0])
        if len(velocity) == 2:
            guided = guided + guidance.unsqueeze(1) * (_wide(velocity[1]) - guided)
        new = latent - sigma * guided
        latent.copy_(a * latent + b * new + torch.where(c == 0, torch.zeros_like(data), c * data))
        data.copy_(new)

    def clamp_resize_uint8(
        self, image: torch.Tensor, down: tuple[torch.Tensor, torch.Tensor], across: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """image [batch, 3, rows, columns] in [-1, 1] -> bytes [batch, height, width, 3], rounded half to even.

        down, across  lower sample (int32) and weight of the next one (float32) of every row and column
        """
        unit = _wide(image).clamp(-1, 1) * 0.5 + 0.5
        (low, share), (left, part) = down, across
        high, right = (low + 1).clamp(max=image.shape[2] - 1), (left + 1).clamp(max=image.shape[3] - 1)
        first = unit.index_select(2, low)
        rows = first + (unit.index_select(2, high) - first) * share[:, None]
        first = rows.index_select(3, left)
        full = first + (rows.index_select(3, right) - first) * part
        return (full * 255).round().to(torch.uint8).movedim(1, -1)

    def dynamic_token_routing(self, levels: torch.Tensor, *arguments: torch.Tensor | float) -> torch.Tensor:
        """levels [picks, tokens, width] and the rest of `route_tokens`, vectors of any type -> [tokens, width]."""
        *tensors, temperature = arguments
        return route_tokens(levels, *(tensor.to(levels.dtype) for tensor in tensors), temperature)[-1]


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.to(wide(x.dtype))
