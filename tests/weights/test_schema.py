"""Every tensor has one owner, and the counts of the specification hold."""

from __future__ import annotations

import pytest
from spar_engine.components import components
from spar_engine.config import preset, presets
from spar_engine.weights.checkpoint import COMPONENTS
from spar_engine.weights.schema import HOST, component_of, expected, ignored
from spar_engine.weights.shapes import decoder, dit, qwen2, vision


@pytest.mark.parametrize("name", presets())
def test_every_tensor_has_an_owner(name: str):
    config = preset(name)
    owners = {component_of(tensor) for tensor in expected(config)}
    assert owners == {*components(config), "host"}
    assert set(COMPONENTS) == set(components(config))
    assert all(component_of(tensor) == "host" for tensor in HOST)
    assert not any(ignored(tensor) for tensor in expected(config))


def test_tensor_counts_of_a_unit():
    """Section 7.2: ViT layer 14, LLM layer 12, DiT block 19 and 16 outside, EfficientViT block 15, residual block 5."""
    config = preset("spar-1b")
    names = expected(config)

    def count(prefix: str) -> int:
        return sum(name.startswith(prefix) for name in names)

    assert count("model.vision_tower.encoder.layers.7.") == 14
    assert count("model.language_model.layers.7.") == 12
    assert count("model.llm_connector.layers.2.") == 12
    assert count("model.dit.transformer_blocks.7.") == 19
    assert count("model.dit.") == 28 * 19 + 16
    assert count("model.vae_decoder.decoder.up_blocks.5.1.") == 15
    assert count("model.vae_decoder.decoder.up_blocks.0.1.") == 5
    assert len(vision(config.vision, 896)) == 24 * 14 + 4 + 6
    assert len(qwen2("x.", config.language, 24)) == 24 * 12 + 1
    assert len(dit(config.dit)) == count("model.dit.")
    assert len(decoder(config.decoder)) == 9 * 15 + 9 * 5 + 5 * 2 + 2 * 3


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("model.dit.transformer_blocks.3.attn2.to_k.weight", "context"),
        ("model.dit.transformer_blocks.3.attn2.to_v.bias", "dit"),
        ("model.dit.transformer_blocks.3.attn2.to_q.weight", "dit"),
        ("model.dit.transformer_blocks.3.attn1.to_k.weight", "dit"),
        ("model.dit.caption_norm.weight", "context"),
        ("model.dit.scale_shift_table", "modulation"),
        ("model.dit.transformer_blocks.3.scale_shift_table", "modulation"),
        ("model.dit.time_embed.linear.bias", "modulation"),
        ("model.projector.weight", "condition"),
        ("model.vae_decoder.fusion_layer.0.weight", "streams"),
        ("model.vae_decoder.decoder.conv_in.bias", "decoder"),
    ],
)
def test_owner(name: str, owner: str):
    assert component_of(name) == owner


def test_unknown_names_have_no_owner():
    with pytest.raises(KeyError):
        component_of("model.other.weight")


def test_training_only_names():
    assert ignored("model.alignment_projector.0.weight")
    assert ignored("regressor.3.bias")
    assert not ignored("model.projector.weight")
