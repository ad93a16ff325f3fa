"""Exact rewrites of the pixel decoder, its parts and the whole, against the literal form in float64."""

from __future__ import annotations

import pytest
import torch
from spar_engine.modules import cuts
from spar_engine.modules.cuts.decoder import FoldedConvIn, PhaseUpsample, SortedAttention
from spar_engine.modules.decoder import ConvIn, MultiscaleAttention, Upsample, quadratic
from spar_engine.ops.torch_ops import linear_attention


def both(plain, rewritten, *args, **kwargs):
    """The two forms with the same random float64 parameters."""
    one, other = plain(*args, **kwargs).double(), rewritten(*args, **kwargs).double()
    for parameter in one.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    other.load_state_dict(one.state_dict())
    return one, other


def close(got, want, terms: int):
    """Two sums of `terms` products: each has an error of at most terms * 2^-53 times the sum of magnitudes."""
    assert got.shape == want.shape
    scale = want.abs().max() * terms**0.5
    assert (got - want).abs().max() <= 2 * terms * 2.0**-53 * scale


@pytest.mark.parametrize(("channels", "out"), [(8, 8), (8, 4), (8, 2), (4, 8), (3, 3)])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (1, 4), (2, 2)])
def test_upsample(channels, out, size):
    """E17: nearest, 3x3 and shortcut as four 2x2 convolutions, at borders and for every repeat count."""
    plain, phases = both(Upsample, PhaseUpsample, channels, out)
    x = torch.randn(2, channels, *size, dtype=torch.float64)
    close(phases(x), plain(x), 9 * channels + 2)


def test_upsample_costs_four_ninths():
    phases = PhaseUpsample(8, 8)
    assert sum(kernel.numel() for kernel in phases.fold().values()) == 4 * 4 * 8 * 8  # 9 * 4 for the same output pixels


@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_conv_in(size):
    """E17: the input shortcut in the centre tap."""
    plain, folded = both(ConvIn, FoldedConvIn, 4, 12, 3, padding=1)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    close(folded(x), plain(x), 9 * 4 + 2)


@pytest.mark.parametrize("scales", [(), (5,), (3, 5)])
@pytest.mark.parametrize("size", [(5, 7), (1, 1), (2, 2), (1, 5)])
def test_attention(scales, size):
    """E18: projections sorted by role; 1, 4 and 5 pixels take the original's explicit form (4 channels a head)."""
    plain, by_role = both(MultiscaleAttention, SortedAttention, 12, 4, scales)
    x = torch.randn(2, 12, *size, dtype=torch.float64)
    close(by_role(x), plain(x), 25 * 12 * 4)


@pytest.mark.parametrize("size", [(3, 5), (1, 1), (2, 1)])
def test_decoder(odd, size):
    latent = odd.normal(2, 4, *size)
    cut = odd.cut("decoder")
    (got,) = cut(latent)
    assert got.shape == (2, 3, 8 * size[0], 8 * size[1])
    odd.check(got, lambda model, dtype: model.decode(latent.to(dtype)))
    (prepared,) = cuts.prepare(cut)(latent)
    assert torch.equal(got, prepared)


def test_order_of_query_key_value_matters(odd):
    """Sorting by role is not the identity: unsorted thirds give another picture."""
    cut = odd.cut("decoder")
    latent = odd.normal(1, 4, 3, 5)
    (right,) = cuts.prepare(cut)(latent)
    attention = cut.model.vae_decoder.decoder.up_blocks[-1][0].attn
    thirds = torch.cat((attention.to_q.weight, attention.to_k.weight, attention.to_v.weight))[:, :, None, None]
    attention.set_folded(attention.fold() | {"qkv": thirds})
    (wrong,) = cut(latent)
    assert (right - wrong).abs().max() > 1e-3


@pytest.mark.parametrize(("pixels", "form"), [(4, quadratic), (5, linear_attention)])
def test_the_plain_form_follows_the_original_at_few_pixels(pixels, form):
    """The switch is at the head size; the two round differently, so in bf16 it is visible which one ran."""
    attention = MultiscaleAttention(12, 4, ())
    inputs = torch.randn(3, 1, 3, pixels, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(attention.core(*inputs), form(*inputs))
    assert not torch.equal(quadratic(*inputs), linear_attention(*inputs))
