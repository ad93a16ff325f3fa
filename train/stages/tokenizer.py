"""The image tokenizer: I streams alone, II decoder joined, III tower joined at a tenth of the rate."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from spar_engine.modules.tap import taps

from .. import data, monitor
from ..lab import DUAL, SINGLE, Lab
from ..pixels import picture_loss, psnr, shrunk
from ..world import sample
from ..world.palette import SIDE
from ..world.scene import render
from .autoencoder import NOISE, pictures

STREAMS = dict.fromkeys(DUAL + SINGLE, 1.0)  # a run has one or the other
DECODER = {"model.vae_decoder.decoder.": 0.5}
TOWER = {"model.vision_tower.": 0.1, "model.multi_modal_projector.": 0.1}


def as_latent(tokens: torch.Tensor) -> torch.Tensor:
    side = int(tokens.shape[1] ** 0.5)
    return tokens.transpose(1, 2).unflatten(2, (side, side)).to(memory_format=torch.channels_last)


class _Tokenizer:
    rate, batch = 1e-3, 16
    decoder = tower = False

    def __init__(self, lab: Lab):
        self.lab = lab
        lab.model.model.vae_decoder.decoder.to(memory_format=torch.channels_last)
        self.teacher = None

    def prepare(self) -> None:
        pass

    def teacher_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Visual tokens of the tower as the language model knows it; the tower that trains must stay near (L_s)."""
        if self.teacher is None:
            self.teacher = Lab(self.lab.run, self.lab.stages)
            self.teacher.load_learned(before="tokenizer3")
        with torch.no_grad():
            return self.teacher.model.features(pixels)

    def loss(self, rng):
        lab = self.lab
        images = pictures(rng, self.batch)[0]
        pixels, target = data.pixel_values(images), data.targets(images)
        with torch.set_grad_enabled(self.tower):
            features = lab.model.features(pixels)
        tokens = lab.model.model.vae_decoder(features)
        lab.heads.pixel_encoder.eval()
        with torch.no_grad():
            taught = lab.heads.pixel_encoder(pixels)
        latent = as_latent(tokens)
        align = F.mse_loss(latent.float(), taught)  # L_p
        loss, seen = align, {"pixel_align": align.item()}
        if self.decoder:
            noisy = latent + NOISE * torch.randn_like(latent)
            made = shrunk(lab.model.decode(noisy), SIDE).float()
            picture = picture_loss(made, target)
            loss = picture + 0.1 * align
            seen |= {"picture": picture.item(), "psnr": psnr(made.detach(), target)}
        if self.tower:
            semantic = F.mse_loss(features.float(), self.teacher_features(pixels).float())  # L_s
            loss = loss + 0.5 * semantic
            seen["semantic_align"] = semantic.item()
        return loss, {"loss": loss.item()} | seen, self.batch

    def evaluate(self):
        return reconstruction(self.lab)


def reconstruction(lab: Lab, number: int = 48) -> dict[str, float]:
    """`monitor.decoded` of held-out scenes through both streams; and with the pixel stream's latent at its mean."""
    scenes = sample.held_out_scenes(np.random.default_rng(1), number)
    images = render(scenes)
    with torch.no_grad(), taps() as seen:
        tokens = lab.model.model.vae_decoder(lab.model.features(data.pixel_values(images)))
    both = monitor.decoded(lab, as_latent(tokens), scenes, images)
    if not lab.config.streams.dual:
        return both
    semantic, pixel = seen["semantic_latent"], seen["pixel_latent"]
    alone = torch.cat((semantic, pixel.mean((0, 1), keepdim=True).expand_as(pixel)), -1)
    single = monitor.decoded(lab, as_latent(lab.model.model.vae_decoder.fusion_layer(alone)), scenes, images)
    return both | {f"{name}_semantic": value for name, value in single.items()}


class Tokenizer1(_Tokenizer):
    name, parts = "tokenizer1", STREAMS


class Tokenizer2(_Tokenizer):
    name, parts, decoder = "tokenizer2", STREAMS | DECODER, True


class Tokenizer3(_Tokenizer):
    name, parts, decoder, tower = "tokenizer3", STREAMS | DECODER | TOWER, True, True
