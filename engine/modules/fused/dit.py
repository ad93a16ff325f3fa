"""One sampler step of the DiT over fused operators (spec 4), from the parameters of its cut."""

from __future__ import annotations

from typing import Any

import torch

from ..cuts.dit import DitCut
from ..dit import Block, position_table
from ..layers import join_heads, split_heads
from .linear import Fp8Linear, Linear, Quantized, fits_fp8


class FusedBlock:
    """Prepared weights of one block."""

    def __init__(self, block: Block, product: Any):
        first, second, ff = block.attn1, block.attn2, block.ff
        self.heads, self.cross_heads, self.eps = first.heads, second.heads, block.eps
        self.qkv = product(torch.cat((first.to_q.weight, first.to_k.weight, first.to_v.weight)))
        self.out = product(first.to_out[0].weight, first.to_out[0].bias)
        self.query = product(second.to_q.weight, second.to_q.bias)
        self.cross_out = product(second.to_out[0].weight, second.folded()["bias"])
        self.up = product(ff.conv_inverted.weight.flatten(1), ff.conv_inverted.bias)
        self.taps = ff.conv_depth.weight.flatten(1).t().contiguous()
        self.taps_bias = ff.conv_depth.bias.float()
        self.down = product(ff.conv_point.weight.flatten(1))


class FusedDit:
    """The step as a function. The residual stream is float32, products are in the type of the cut's parameters.

    cut  a loaded and prepared `DitCut`; ops  the operators, as `TorchOps` has them
    fp8  quantise products whose shape allows it to e4m3
    """

    def __init__(self, cut: DitCut, ops: Any, *, fp8: bool = False):
        dit = cut.model.dit

        def product(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear | Fp8Linear:
            return Fp8Linear(weight, bias, ops) if fp8 and fits_fp8(weight) else Linear(weight, bias)

        self.ops, self.config = ops, dit.config
        self.half = dit.proj_out.weight.dtype
        self.blocks = [FusedBlock(block, product) for block in dit.transformer_blocks]
        self.embed = dit.patch_embed.proj.weight.flatten(1).float()
        self.embed_bias = dit.patch_embed.proj.bias.float()
        self.base = dit.patch_embed.base
        self.head = Linear(dit.proj_out.weight, dit.proj_out.bias)
        self._positions: dict[tuple[int, int], torch.Tensor] = {}

    def positions(self, grid: tuple[int, int]) -> torch.Tensor:
        """Position table of a grid plus the embedding's bias, [tokens, width] float32, made once for each grid."""
        if grid not in self._positions:
            like = self.embed_bias.expand(grid[0] * grid[1], -1)
            table = 0 if self.base is None else position_table(*grid, self.base, like)[0]
            self._positions[grid] = (like + table).contiguous()
        return self._positions[grid]

    def __call__(
        self,
        latent: torch.Tensor,
        grid: tuple[int, int],
        modulation: torch.Tensor,
        final: torch.Tensor,
        branches: torch.Tensor | int,
        keys: torch.Tensor,
        values: torch.Tensor,
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity [branch, tokens, channels].

        latent        [batch, tokens, channels] float32, token-major
        modulation    [batch, blocks, 6, width] float32; final [batch, 2, width]
        branches      latent of every branch, [branch]; a number: that many branches of the one latent
        keys, values  [blocks, branch, heads, tokens, head_dim]; lengths [branch] int32, valid tokens
        """
        ops, eps = self.ops, self.config.eps
        flat = latent.flatten(0, 1)
        table = self.positions(grid)
        if len(latent) > 1:
            table = table.repeat(len(latent), 1)
        x = torch.addmm(table, flat, self.embed.t()).unflatten(0, latent.shape[:2])
        normed = ops.layer_norm_modulate(x, modulation[:, 0, 0], modulation[:, 0, 1], eps, self.blocks[0].qkv.eight)
        for index, block in enumerate(self.blocks):
            x = ops.project_gate_residual(x, self.self_attention(block, normed), block.out, modulation[:, index, 2])
            if index == 0:
                x, modulation, final = (spread(part, branches) for part in (x, modulation, final))
                x = x.contiguous()
            mixed = ops.project_cross_attention(x, block.query, block.cross_heads, keys[index], values[index], lengths)
            own = modulation[:, index]
            x, normed = ops.gate_residual_norm(x, block.cross_out(mixed), None, own[:, 3], own[:, 4], eps,
                                               block.up.eight)  # fmt: skip
            grown = block.up(normed).unflatten(1, grid)
            shrunk = block.down(ops.glumbconv_core(grown, block.taps, block.taps_bias)).flatten(1, 2)
            last = index + 1 == len(self.blocks)
            following = final if last else modulation[:, index + 1]
            reader = self.head if last else self.blocks[index + 1].qkv
            x, normed = ops.gate_residual_norm(x, shrunk, own[:, 5], following[:, 0], following[:, 1], eps,
                                               reader.eight)  # fmt: skip
        return self.head(normed)

    def self_attention(self, block: FusedBlock, normed: torch.Tensor | Quantized) -> torch.Tensor:
        """Normed tokens [batch, tokens, width] through one projection and ReLU attention."""
        query, key, value = (split_heads(part, block.heads) for part in block.qkv(normed).chunk(3, dim=-1))
        return join_heads(self.ops.relu_linear_attention(query, key, value))


def spread(x: torch.Tensor, branches: torch.Tensor | int) -> torch.Tensor:
    """Rows of x [batch, ...] for every branch, by index; a number of branches repeats the one row without a copy."""
    return x.expand(branches, *x.shape[1:]) if isinstance(branches, int) else x.index_select(0, branches)
