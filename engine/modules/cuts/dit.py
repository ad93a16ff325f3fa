"""Components `context`, `modulation` and `dit`: what depends on the text, on the schedule, and on the latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ...config import ModelConfig
from ...ops.torch_ops import relu_linear_attention
from ..dit import CrossAttention, Dit, LinearAttention
from ..layers import as_bias
from ..tap import scope, tap
from .base import Cut, Folding, below_model, keep


class FusedLinearAttention(LinearAttention):
    """The attention core as one operator."""

    core = staticmethod(relu_linear_attention)


class HoistedCrossAttention(CrossAttention, Folding):
    """Cross-attention over given keys and values that lack their biases (E14).

    The key bias adds the same to every logit of a query. The value bias passes through the weights, which sum to 1, so
    it becomes part of the output bias.
    """

    def fold(self) -> dict[str, torch.Tensor]:
        out = self.to_out[0]
        return {"bias": out.bias + F.linear(self.to_v.bias, out.weight)}

    def out(self, mixed: torch.Tensor) -> torch.Tensor:
        return F.linear(mixed, self.to_out[0].weight, self.folded()["bias"])


class ContextCut(Cut):
    """Cross-attention keys and values of every block, once for each picture (E1, E2, E14)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.model = below_model(dit=keep(Dit(config.dit), r"caption_(projection|norm)\.|attn2\.to_[kv]\.weight"))

    def forward(self, caption: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dit = self.model.dit
        context = dit.context(caption)
        keys, values = zip(*(block.attn2.context(context) for block in dit.transformer_blocks), strict=True)
        return torch.stack(keys), torch.stack(values)


class ModulationCut(Cut):
    """AdaLN vectors of every block and of the head, once for each timestep of a schedule (E3)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.model = below_model(dit=keep(Dit(config.dit), r"time_embed\.|scale_shift_table"))

    def forward(self, timesteps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        blocks, final = self.model.dit.modulation(timesteps)
        return torch.stack(blocks, dim=1), final


class DitCut(Cut):
    """One step for several guidance branches. Branches of one latent are equal up to block 0's cross-attention, so
    until there each latent is computed once (E7)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        wanted = r"patch_embed\.|attn1\.|attn2\.to_(q|out)\.|attn2\.to_v\.bias|\.ff\.|proj_out\."
        self.model = below_model(dit=keep(Dit(config.dit, FusedLinearAttention, HoistedCrossAttention), wanted))

    def forward(
        self, latent, modulation, final_modulation, branches, cross_keys, cross_values, lengths
    ) -> tuple[torch.Tensor]:
        dit, grid = self.model.dit, latent.shape[-2:]
        tokens = torch.arange(cross_keys.shape[3], device=lengths.device)
        bias = as_bias(tokens < lengths.unsqueeze(1), latent.dtype)[:, None, None]
        x = dit.patch_embed(latent)
        for index, block in enumerate(dit.transformer_blocks):
            with scope(f"block_{index}"):
                x = block.self_attention(x, modulation[:, index])
                if index == 0:
                    x, modulation = x.index_select(0, branches), modulation.index_select(0, branches)
                x = block.cross_attention(x, cross_keys[index], cross_values[index], bias)
                x = block.feed_forward(x, modulation[:, index], grid)
            tap(f"block_{index}", x)
        return (dit.head(x, final_modulation.index_select(0, branches), grid),)
