"""Names of several writers become canonical ones."""

from __future__ import annotations

import json

import pytest
from spar_engine.config import preset
from spar_engine.errors import CheckpointError
from spar_engine.weights.names import canonical, normalise
from spar_engine.weights.schema import expected

ALL = expected(preset("spar-tiny-random")) | expected(preset("unilip-1b"))


def legacy(name: str) -> str:
    """The layout of later transformers."""
    for ours, theirs in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                         ("model.vision_tower.", "vision_tower."),
                         ("model.multi_modal_projector.", "multi_modal_projector.")):  # fmt: skip
        if name.startswith(ours):
            return theirs + name[len(ours) :]
    return name


def test_canonical_names_stay():
    assert [canonical(name) for name in ALL] == list(ALL)


def test_legacy_layout():
    assert [canonical(legacy(name)) for name in ALL] == list(ALL)


def test_image_tokenizer_layout(golden):
    listed = json.loads(golden("spar-tiny/image_tokenizer_key_names.json").read_text())
    assert {canonical(theirs) for theirs in listed.values()} == listed.keys()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vision_model.encoder.layers.3.ls1", "model.vision_tower.encoder.layers.3.ls1"),
        ("mlp1.3.bias", "model.multi_modal_projector.3.bias"),
        ("vision_tower.embeddings.cls_token", "model.vision_tower.embeddings.class_embedding"),
        ("model.vision_tower.embeddings.position_embeddings", "model.vision_tower.embeddings.position_embedding"),
        ("vision_tower.embeddings.patch_embeddings.projection.weight",
         "model.vision_tower.embeddings.patch_embedding.weight"),
        ("model.vision_tower.encoder.layer.12.attention.projection_layer.bias",
         "model.vision_tower.encoder.layers.12.attn.proj.bias"),
        ("vision_tower.encoder.layer.0.layernorm_before.weight", "model.vision_tower.encoder.layers.0.norm1.weight"),
        ("vision_tower.encoder.layer.0.layernorm_after.bias", "model.vision_tower.encoder.layers.0.norm2.bias"),
        ("vision_tower.encoder.layer.0.lambda_2", "model.vision_tower.encoder.layers.0.ls2"),
        ("vision_tower.encoder.layer.0.mlp.fc1.weight", "model.vision_tower.encoder.layers.0.mlp.fc1.weight"),
        ("multi_modal_projector.layer_norm.weight", "model.multi_modal_projector.0.weight"),
        ("model.multi_modal_projector.linear_2.bias", "model.multi_modal_projector.3.bias"),
    ],
)  # fmt: skip
def test_stock_names(theirs: str, ours: str):
    assert canonical(theirs) == ours


def test_separate_q_k_v_are_stacked_in_order():
    layer = "vision_tower.encoder.layer.5.attention."
    found = normalise([f"{layer}{which}_proj.weight" for which in "vkq"], "x")
    fused = "model.vision_tower.encoder.layers.5.attn.qkv.weight"
    assert found == {fused: tuple(f"{layer}{which}_proj.weight" for which in "qkv")}
    with pytest.raises(CheckpointError, match="lacks v beside"):
        normalise([f"{layer}q_proj.weight", f"{layer}k_proj.weight"], "x")
    with pytest.raises(CheckpointError, match="both mean"):
        normalise([*found[fused], fused], "x")
    with pytest.raises(CheckpointError, match="both mean"):
        normalise([*found[fused], "model." + found[fused][0]], "x")


def test_collisions():
    with pytest.raises(CheckpointError, match=r"x: `lm_head.weight` and `language_model.lm_head.weight` both mean"):
        normalise(["lm_head.weight", "language_model.lm_head.weight"], "x")
