"""The plain model as a whole: padding, gradients, refusals."""

from __future__ import annotations

import pytest
import torch
from spar_engine.errors import InputError
from spar_engine.modules.layers import as_bias
from spar_engine.modules.model import positions_of
from spar_engine.modules.tap import taps
from spar_engine.modules.vision import pixel_shuffle


def test_positions_count_valid_tokens():
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 0, 0, 1]])
    assert positions_of(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 1, 1, 2]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_masked_key_has_no_weight_and_a_masked_row_no_nan(dtype):
    bias = as_bias(torch.tensor([[True, False], [False, False]]), dtype)
    assert bias.dtype == dtype
    logits = torch.tensor([[-50.0, 50.0], [1.0, 1.0]], dtype=dtype)
    assert torch.softmax(logits + bias, -1).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_padding_does_not_reach_valid_rows(odd):
    """Whatever the padded ids are, on either side, valid rows stay as they are, to the last bit."""
    ids = torch.from_numpy(odd.rng.integers(0, 49, (2, 6)))
    for first, last in ((0, 2), (4, 6)):
        mask = torch.ones(2, 6, dtype=torch.int64)
        mask[0, first:last] = 0
        caption, grown = odd.model.condition(ids, mask)
        ids[0, first:last] += 1
        again, _ = odd.model.condition(ids, mask)
        valid = grown.bool()
        assert torch.isfinite(caption).all()
        assert torch.equal(caption[valid], again[valid])
        assert not torch.equal(caption[~valid], again[~valid])


def test_the_image_rows_are_overwritten_twice(odd):
    """Before the language model and again before the connector, with the raw visual tokens."""
    ids = torch.tensor([[3, 49, 49, 7]])
    features = odd.normal(1, 2, 60)
    with taps() as seen:
        odd.model.condition(ids, torch.ones_like(ids), features)
    for name in ("inputs_embeds", "connector.in"):
        assert torch.equal(seen[name][:, 1:3], features)


def test_the_number_of_image_tokens_must_fit(odd):
    with pytest.raises(InputError, match="prompt: 2 image tokens, but features have 3 rows"):
        odd.model.embed(torch.tensor([[3, 49, 49, 7]]), odd.normal(1, 3, 60))


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((56, 70), "width=70 is not a multiple of 28; nearest: 56 and 84"),
        ((14, 56), "height=14 is not a multiple of 28; nearest: 28"),
    ],
)
def test_a_picture_that_does_not_fit_the_grid(odd, size, message):
    with pytest.raises(InputError, match=message):
        odd.model.features(odd.normal(1, 3, *size))
    with pytest.raises(InputError, match=message):
        odd.cut("vision")(odd.normal(1, 3, *size))


def test_latents_of_a_wide_picture(odd):
    """Rows and columns keep their places: a token is the cell of its place in reading order."""
    pixels = odd.normal(2, 3, 56, 84)
    latents = odd.model.encode(pixels)
    assert latents.shape == (2, 4, 2, 3)
    tokens = odd.model.model.vae_decoder(odd.model.features(pixels))
    assert torch.equal(latents[:, :, 1, 0], tokens[:, 3])


def test_pixel_shuffle_by_index():
    """Spec 3.2, 12.2: the four patches of a cell row by row, cells in reading order, for a grid that is not square."""
    patches = torch.arange(4 * 6).reshape(1, 4, 6, 1)
    cells = pixel_shuffle(patches)[0].tolist()
    assert cells == [[6 * 2 * a + 2 * b + place for place in (0, 1, 6, 7)] for a in range(2) for b in range(3)]


def test_every_parameter_gets_a_gradient(odd):
    """From the four losses of training: text, denoising under the whole condition, reconstruction, editing."""
    with torch.inference_mode(False):
        model = type(odd.model)(odd.config)
        model.load_state_dict({name: value.clone() for name, value in odd.rough.state_dict().items()})
        pixels = torch.randn(1, 3, 56, 84, generator=torch.Generator().manual_seed(0))
        ids = torch.tensor([[3, *[49] * 6, 7]])
        features = model.features(pixels)
        caption, mask = model.condition(ids, torch.ones_like(ids), features)
        latents = model.encode(pixels)
        velocity = model.velocity(latents, torch.tensor([500]), caption, mask)
        logits, _ = model.logits(model.embed(ids))
        (velocity.square().mean() + model.decode(latents).square().mean() + logits.logsumexp(-1).mean()).backward()
        without = {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()}
        assert without == set()
        assert all(torch.isfinite(value.grad).all() for value in model.parameters())
