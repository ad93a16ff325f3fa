"""The fused operators through planned Triton launches, whoever runs them: cubins, Triton itself, or its interpreter."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from ...ops.launches import attention, pictures, rows
from ...ops.launches.launch import Launch
from ..layers import join_heads
from .linear import Linear, Quantized
from .table import Unsupported


class Runner(Protocol):
    """Runs launches in order on the current stream of the device."""

    def has(self, launches: list[Launch]) -> bool: ...
    def run(self, launches: list[Launch], stream: int) -> None: ...


def token_major(batch: int, heads: int, tokens: int, head_dim: int, like: torch.Tensor) -> torch.Tensor:
    """An empty [batch, heads, tokens, head_dim] where the heads of a token are neighbours: joining them is a view."""
    return like.new_empty(batch, tokens, heads, head_dim).transpose(1, 2)


def result_rows(
    like: torch.Tensor, half: torch.dtype, eight: bool
) -> tuple[torch.Tensor | Quantized, torch.Tensor, torch.Tensor | None]:
    """Empty rows of the shape of `like`, in `half` or quantised, and what a kernel stores into: numbers or bytes, and
    scales [...]."""
    if not eight:
        out = torch.empty_like(like, dtype=half)
        return out, out, None
    scales = like.new_empty(*like.shape[:-1], 1, dtype=torch.float32)
    out = Quantized(torch.empty_like(like, dtype=torch.float8_e4m3fn), scales)
    return out, out.values.view(torch.uint8), out.scales.squeeze(-1)


class TritonOps:
    """Operators of `TorchOps` by name; Unsupported where the runner has no kernel for a call.

    half  type of what feeds products; wide  products in float32 (needed for float32 data and in the interpreter)
    arch  whose tuned settings are used
    """

    def __init__(self, runner: Runner, *, half: torch.dtype = torch.bfloat16, wide: bool = False, arch: int = 80):
        self.runner, self.half = runner, half
        self.settings = {"wide": wide, "arch": arch}

    def relu_linear_attention(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = token_major(*query.shape, query)
        self._run(query, attention.relu_linear_attention(query, key, value, out, scratch=_scratch(query),
                                                         **self.settings))  # fmt: skip
        return out

    def cross_attention(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        out = token_major(*query.shape, query)
        self._run(query, attention.cross_attention(query, keys, values, out, lengths=lengths, **self.settings))
        return out

    def project_cross_attention(
        self, x: torch.Tensor, product: Any, heads: int, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """`cross_attention` of product(x), which is made within; x and the result are [batch, tokens, width]."""
        weight, bias = self._plain("project_cross_attention", product)
        out = token_major(len(x), heads, x.shape[1], weight.shape[0] // heads, weight)
        self._run(x, attention.project_cross_attention(x, weight, bias, keys, values, out, lengths=lengths,
                                                       **self.settings))  # fmt: skip
        return join_heads(out)

    def project_gate_residual(self, x: torch.Tensor, y: torch.Tensor, product: Any, gate: torch.Tensor) -> torch.Tensor:
        """x + gate * product(y)."""
        out = torch.empty_like(x)
        weight, bias = self._plain("project_gate_residual", product)
        self._run(x, rows.project_gate_residual(y, weight, bias, gate, x, out, **self.settings))
        return out

    def layer_norm_modulate(
        self, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, eight: bool = False
    ) -> torch.Tensor | Quantized:
        out, stored, scales = result_rows(x, self.half, eight)
        self._run(x, rows.layer_norm_modulate(x, shift, scale, stored, scales, eps=eps, **self.settings))
        return out

    def quantize_rows(self, x: torch.Tensor) -> Quantized:
        out, stored, scales = result_rows(x, self.half, True)
        self._run(x, rows.quantize_rows(x, stored, scales, **self.settings))
        return out

    def gate_residual(self, x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        out = torch.empty_like(x)
        self._run(x, rows.gate_residual(x, y, out, gate=gate, **self.settings))
        return out

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
        out = torch.empty_like(x)
        normed, stored, scales = result_rows(x, self.half, eight)
        self._run(x, rows.gate_residual(x, y, out, gate=gate, normed=stored, normed_scales=scales, shift=shift,
                                        scale=scale, eps=eps, **self.settings))  # fmt: skip
        return out, normed

    def glumbconv_core(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        out = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
        self._run(x, rows.glumbconv_core(x, weight, bias, out, **self.settings))
        return out

    def guide_and_step(
        self,
        velocity: torch.Tensor,
        guidance: torch.Tensor,
        table: torch.Tensor,
        latent: torch.Tensor,
        data: torch.Tensor,
        step: int,
    ) -> None:
        self._run(latent, pictures.guide_and_step(velocity, guidance, table, latent, data, latent, step=step,
                                                  **self.settings))  # fmt: skip

    def clamp_resize_uint8(
        self, image: torch.Tensor, down: tuple[torch.Tensor, torch.Tensor], across: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        size = len(image), len(down[0]), len(across[0]), image.shape[1]
        out = torch.empty(size, dtype=torch.uint8, device=image.device)
        self._run(image, pictures.clamp_resize_uint8(image, *down, *across, out, **self.settings))
        return out

    def dynamic_token_routing(self, levels: torch.Tensor, *arguments: Any) -> torch.Tensor:
        return self.routed_with_weights(levels, *arguments)[0]

    def routed_with_weights(self, levels: torch.Tensor, *arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """The result, and the weights [tokens, picks] float32 of each token's levels."""
        *tensors, temperature = arguments
        weights = levels.new_empty(levels.shape[1], levels.shape[0], dtype=torch.float32)
        routed = torch.empty_like(levels[0])
        self._run(levels, rows.dynamic_token_routing(levels, *tensors, weights, routed, temperature=temperature,
                                                     scratch=_scratch(levels), **self.settings))  # fmt: skip
        return routed, weights

    def _plain(self, op: str, product: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of a product that is not quantised."""
        if not isinstance(product, Linear) or product.bias is None:
            raise Unsupported(op)
        return product.weight, product.bias

    def _run(self, like: torch.Tensor, launches: list[Launch]) -> None:
        if not self.runner.has(launches):
            raise Unsupported(launches[0].op)
        self.runner.run(launches, stream_of(like))


def stream_of(like: torch.Tensor) -> int:
    """The stream that torch uses now on the device of `like`, as the driver names it; 0 for the CPU."""
    return torch.cuda.current_stream(like.device).cuda_stream if like.is_cuda else 0


def _scratch(like: torch.Tensor) -> Any:
    return lambda shape: like.new_empty(shape, dtype=torch.float32)
