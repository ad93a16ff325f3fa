"""Which implementation answers each fused operator: CUDA C++, then Triton cubins, then torch."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch

from ..errors import BackendError, SparError
from ..modules.fused.linear import Quantized
from ..modules.fused.table import Dispatched, TorchOps, Unsupported
from ..modules.fused.triton import TritonOps, result_rows, stream_of, token_major
from ..ops.cubins import Cubins, built_for

KERNELS = ("auto", "cuda", "triton", "torch")


class CudaOps:
    """Operators of `TorchOps` by the kernels of `spar_engine._cuda`, which docs/kernels.md describes. bf16 only."""

    half = torch.bfloat16

    def __init__(self, module: Any):
        self.module = module

    def relu_linear_attention(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        batch, heads, tokens, head_dim = query.shape
        if head_dim not in (16, 32) or not self._fit(query, key, value):
            raise Unsupported("relu_linear_attention")
        size = self.module.relu_linear_attention_workspace(batch=batch, heads=heads, tokens=tokens, head_dim=head_dim)
        out = token_major(batch, heads, tokens, head_dim, query)
        self.module.relu_linear_attention(query=query, key=key, value=value, out=out,
                                          workspace=_bytes(size, query) if size else None,
                                          stream=stream_of(query))  # fmt: skip
        return out

    def cross_attention(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        if query.shape[-1] % 8 or query.shape[-1] > 128 or not self._fit(query, keys, values):
            raise Unsupported("cross_attention")
        out = token_major(*query.shape, query)
        self.module.cross_attention(query=query, keys=keys, values=values, lengths=lengths, out=out,
                                    stream=stream_of(query))  # fmt: skip
        return out

    def layer_norm_modulate(
        self, x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor, eps: float, eight: bool = False
    ) -> torch.Tensor | Quantized:
        self._rows("layer_norm_modulate", x)
        out, stored, scales = result_rows(x, self.half, eight)
        self.module.layer_norm_modulate(x=x, shift=shift, scale=scale, eps=eps, out=stored, out_scales=scales,
                                        stream=stream_of(x))  # fmt: skip
        return out

    def quantize_rows(self, x: torch.Tensor) -> Quantized:
        self._rows("quantize_rows", x)
        out, stored, scales = result_rows(x, self.half, True)
        self.module.quantize_rows(x=x.flatten(0, -2), values=stored.flatten(0, -2), scales=scales.flatten(),
                                  stream=stream_of(x))  # fmt: skip
        return out

    def gate_residual(self, x: torch.Tensor, y: torch.Tensor, gate: torch.Tensor | None = None) -> torch.Tensor:
        self._rows("gate_residual", x, y)
        out = torch.empty_like(x)
        self.module.gate_residual(x=x, y=y, gate=gate, out=out, stream=stream_of(x))
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
        self._rows("gate_residual", x, y)
        out = torch.empty_like(x)
        normed, stored, scales = result_rows(x, self.half, eight)
        self.module.gate_residual(x=x, y=y, gate=gate, out=out, normed=stored, normed_scales=scales, shift=shift,
                                  scale=scale, eps=eps, stream=stream_of(x))  # fmt: skip
        return out, normed

    def glumbconv_core(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] % 16 or not self._fit(x, weight) or not x.is_contiguous():
            raise Unsupported("glumbconv_core")
        out = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
        self.module.glumbconv_core(x=x, weight=weight, bias=bias, out=out, stream=stream_of(x))
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
        self.module.guide_and_step(velocity=velocity, guidance=guidance, table=table, step=step, latent=latent,
                                   out=latent, data=data, stream=stream_of(latent))  # fmt: skip

    def clamp_resize_uint8(
        self, image: torch.Tensor, down: tuple[torch.Tensor, torch.Tensor], across: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        out = image.new_empty(len(image), len(down[0]), len(across[0]), 3, dtype=torch.uint8)
        self.module.clamp_resize_uint8(image=image, out=out, stream=stream_of(image))
        return out

    def dynamic_token_routing(self, levels: torch.Tensor, *arguments: Any) -> torch.Tensor:
        w1, b1, w2, b2, scales, norm_weight, norm_bias, weight, bias, temperature = arguments
        depth, tokens, width = levels.shape
        if width % 8 or w1.shape[0] % 8 or depth > 32 or not self._fit(levels, w1, w2, weight):
            raise Unsupported("dynamic_token_routing")
        size = self.module.dynamic_token_routing_workspace(tokens=tokens, hidden=w1.shape[0], depth=depth)
        routed = torch.empty_like(levels[0])
        self.module.dynamic_token_routing(
            levels=levels, w1=w1, b1=b1.float(), w2=w2, b2=b2.float(), scales=scales.float(),
            norm_weight=norm_weight.float(), norm_bias=norm_bias.float(), proj_weight=weight, proj_bias=bias.float(),
            temperature=temperature, routed=routed, workspace=_bytes(size, levels), stream=stream_of(levels),
        )  # fmt: skip
        return routed

    def _fit(self, *tensors: torch.Tensor) -> bool:
        """Whether all are bf16 with a dense last axis and rows on 16 bytes."""
        return all(
            tensor.dtype == self.half and tensor.stride(-1) == 1 and tensor.data_ptr() % 16 == 0
            and all(stride % 8 == 0 for stride in tensor.stride()[:-1])
            for tensor in tensors
        )  # fmt: skip

    def _rows(self, op: str, x: torch.Tensor, *others: torch.Tensor) -> None:
        if x.shape[-1] % 8 or not x.is_contiguous() or not all(other.is_contiguous() for other in others):
            raise Unsupported(op)


def _bytes(size: int, like: torch.Tensor) -> torch.Tensor:
    return like.new_empty(size, dtype=torch.uint8)


def operators(
    device: torch.device, half: torch.dtype, kernels: str, cubins: str | Path | None
) -> tuple[Dispatched, dict[str, str]]:
    """The operators for a device, and for each implementation that is not in use the reason.

    kernels  "auto": all that work, best first; "cuda", "triton" or "torch": that one, and torch where it cannot
    cubins   folder made by spar_export.triton_aot; None: none
    """
    if kernels not in KERNELS:
        raise BackendError(f"cuda: kernels={kernels!r} is unknown; it has {', '.join(KERNELS)}")
    found: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, make in (("cuda", lambda: _compiled(device)), ("triton", lambda: _cubins(device, half, cubins))):
        if kernels not in ("auto", name):
            missing[name] = f"kernels={kernels!r}"
        elif half != torch.bfloat16:
            missing[name] = "its kernels are bf16; precision='fp32' runs in torch"
        else:
            try:
                found[name] = make()
            except (SparError, ImportError) as error:
                missing[name] = str(error)
    if kernels in missing and kernels != "torch":
        raise BackendError(f"cuda: kernels={kernels!r} cannot be used: {missing[kernels]}")
    return Dispatched(found | {"torch": TorchOps(half)}), missing


def _compiled(device: torch.device) -> CudaOps:
    if device.type != "cuda":
        raise BackendError(f"device={device} is no GPU")
    if importlib.util.find_spec("spar_engine._cuda") is None:
        raise BackendError("spar_engine._cuda is not built; build with SPAR_CUDA=1, see docs/build.md")
    return CudaOps(importlib.import_module("spar_engine._cuda"))


def _cubins(device: torch.device, half: torch.dtype, folder: str | Path | None) -> TritonOps:
    if folder is None:
        raise BackendError("no folder of cubins was given; make one with: python -m spar_export.triton_aot OUT")
    if device.type != "cuda":
        raise BackendError(f"device={device} is no GPU")
    capability = torch.cuda.get_device_capability(device)
    arch = built_for(capability)
    if not arch:
        raise BackendError(f"no cubins are built for compute capability {capability[0]}.{capability[1]}")
    return TritonOps(Cubins(folder, arch), half=half, arch=arch)
