"""Starting weights: the modules' own where they are sane, ours where training from nothing wants another scale."""

from __future__ import annotations

import torch
from spar_engine.modules.model import Spar
from torch import nn

STD = 0.02


def initialise(model: Spar) -> None:
    """Sets the weights of a fresh model in place, from torch's generator (seed it first)."""
    backbone, config = model.model, model.config
    tower = backbone.vision_tower
    nn.init.normal_(tower.embeddings.position_embedding, std=STD)
    nn.init.normal_(tower.embeddings.class_embedding, std=STD)
    for layer in tower.encoder.layers:  # four layers need no damping
        nn.init.ones_(layer.ls1)
        nn.init.ones_(layer.ls2)
    for stack in (tower, backbone.multi_modal_projector, backbone.language_model, backbone.llm_connector):
        for module in stack.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    _damp([layer.attn.proj for layer in tower.encoder.layers] + [layer.mlp.fc2 for layer in tower.encoder.layers])
    for stack in (backbone.language_model, backbone.llm_connector):
        _damp([layer.self_attn.o_proj for layer in stack.layers] + [layer.mlp.down_proj for layer in stack.layers])
    nn.init.normal_(backbone.language_model.embed_tokens.weight, std=1.0)
    nn.init.normal_(model.lm_head.weight, std=STD)
    nn.init.normal_(backbone.latent_queries, std=1.0)
    dit = backbone.dit
    for block in dit.transformer_blocks:
        _damp([block.attn1.to_out[0], block.attn2.to_out[0], block.ff.conv_point], len(dit.transformer_blocks))
        with torch.no_grad():
            block.scale_shift_table[[2, 5]] += 1.0  # gates start open: nothing is pretrained here
    nn.init.normal_(dit.time_embed.linear.weight, std=STD)
    nn.init.zeros_(dit.time_embed.linear.bias)
    nn.init.zeros_(dit.proj_out.weight)
    nn.init.zeros_(dit.proj_out.bias)
    last = config.connector_depth  # the paper starts the connector from the last layers of the language model
    backbone.llm_connector.load_state_dict(
        {f"layers.{i}.{name}": value
         for i, layer in enumerate(backbone.language_model.layers[-last:])
         for name, value in layer.state_dict().items()}
        | {"norm.weight": backbone.language_model.norm.weight.detach()}
    )  # fmt: skip


def _damp(layers: list[nn.Module], depth: int | None = None) -> None:
    """Outputs of residual branches start small, so that the sum over the branches stays of unit size."""
    with torch.no_grad():
        for layer in layers:
            layer.weight.mul_((depth or len(layers)) ** -0.5)
