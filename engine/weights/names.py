"""From the names in a file to canonical names (spec 7.2): several prefixes, three namings of the vision part."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..errors import CheckpointError

_PREFIXES = (
    ("language_model.model.", "model.language_model."),  # later transformers, and InternVL itself
    ("language_model.lm_head.", "lm_head."),
    ("vision_tower.", "model.vision_tower."),
    ("vision_model.", "model.vision_tower."),  # InternVL itself
    ("multi_modal_projector.", "model.multi_modal_projector."),
    ("mlp1.", "model.multi_modal_projector."),  # InternVL itself, and the image tokenizer
    ("encoder.", "model.vision_tower."),  # from here on: the image tokenizer (spec 7.4)
    *((f"{part}.", f"model.vae_decoder.{part}.")
      for part in ("decoder", "down_blocks", "down_mlp", "semantic_down_blocks", "semantic_down_mlp",
                   "pixel_down_blocks", "pixel_down_mlp", "pixel_transformer", "fusion_layer")),
)  # fmt: skip

# The Hugging Face port's vision tower and projector, below their prefixes.
_PORTED = (
    (re.compile(r"embeddings\.cls_token$"), "embeddings.class_embedding"),
    (re.compile(r"embeddings\.position_embeddings$"), "embeddings.position_embedding"),
    (re.compile(r"embeddings\.patch_embeddings\.projection\."), "embeddings.patch_embedding."),
    (re.compile(r"encoder\.layer\.(\d+)\.attention\.projection_layer\."), r"encoder.layers.\1.attn.proj."),
    (re.compile(r"encoder\.layer\.(\d+)\.layernorm_before\."), r"encoder.layers.\1.norm1."),
    (re.compile(r"encoder\.layer\.(\d+)\.layernorm_after\."), r"encoder.layers.\1.norm2."),
    (re.compile(r"encoder\.layer\.(\d+)\.lambda_([12])$"), r"encoder.layers.\1.ls\2"),
    (re.compile(r"encoder\.layer\.(\d+)\.mlp\."), r"encoder.layers.\1.mlp."),
)
_PORTED_PROJECTOR = {"layer_norm": "0", "linear_1": "1", "linear_2": "3"}
_SPLIT = re.compile(r"(model\.vision_tower\.encoder\.)layer\.(\d+)\.attention\.([qkv])_proj\.(weight|bias)$")


def canonical(name: str) -> str:
    """Canonical name of a tensor; a separate q, k or v of the port keeps its own, under the canonical prefix."""
    for prefix, ours in _PREFIXES:
        if name.startswith(prefix):
            name = ours + name[len(prefix) :]
            break
    if name.startswith("model.vision_tower."):
        head, tail = name[: len("model.vision_tower.")], name[len("model.vision_tower.") :]
        for pattern, ours in _PORTED:
            if pattern.match(tail):
                return head + pattern.sub(ours, tail, count=1)
    if name.startswith("model.multi_modal_projector."):
        *head, layer, kind = name.split(".")
        if layer in _PORTED_PROJECTOR:
            return ".".join((*head, _PORTED_PROJECTOR[layer], kind))
    return name


def normalise(names: Iterable[str], where: str) -> dict[str, tuple[str, ...]]:
    """Canonical name -> the names in the file whose tensors, stacked along the first axis, make it.

    where   names the checkpoint in messages
    errors  CheckpointError when two names mean the same tensor, or one of q, k and v is missing
    """
    found: dict[str, tuple[str, ...]] = {}
    split: dict[str, dict[str, str]] = {}
    for name in names:
        ours = canonical(name)
        if match := _SPLIT.match(ours):
            fused = f"{match[1]}layers.{match[2]}.attn.qkv.{match[4]}"
            if other := split.setdefault(fused, {}).get(match[3]):
                raise _collision(where, other, name, ours)
            split[fused][match[3]] = name
        elif ours in found:
            raise _collision(where, found[ours][0], name, ours)
        else:
            found[ours] = (name,)
    for fused, pieces in split.items():
        if fused in found:
            raise _collision(where, found[fused][0], next(iter(pieces.values())), fused)
        if lacking := [which for which in "qkv" if which not in pieces]:
            raise CheckpointError(
                f"{where}: lacks {', '.join(lacking)} beside {next(iter(pieces.values()))!r}; the file is incomplete"
            )
        found[fused] = tuple(pieces[which] for which in "qkv")
    return found


def _collision(where: str, first: str, second: str, ours: str) -> CheckpointError:
    return CheckpointError(f"{where}: `{first}` and `{second}` both mean `{ours}`; keep one")
