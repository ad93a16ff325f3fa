"""Connector and projector: mixed language states to the condition of the DiT (spec 5.2)."""

from __future__ import annotations

import torch
from torch import nn

from .qwen2 import Qwen2
from .tap import tap


def caption(
    connector: Qwen2, project: nn.Linear, x: torch.Tensor, positions: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Bidirectional layers, their norm, then the projection.

    x          [batch, tokens, hidden]
    positions  [batch or 1, tokens]
    bias       additive mask of padded tokens, [batch, 1, tokens, tokens]; none: all tokens are valid
    returns    [batch, tokens, caption_width]
    """
    depth = len(connector.layers)
    levels, _ = connector(tap("connector.in", x), positions, bias, wanted=(depth,), name="connector")
    return tap("projector.out", project(levels[depth]))
