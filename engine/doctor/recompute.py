"""Every tensor of a golden directory, computed again by the backend under examination.

Each function takes the subject, the golden tensors of one file and its metadata, and yields (name, value) pairs. Inputs
are the file's `in.*` tensors, so errors do not add up from file to file. Names are those of the files; inner tensors of
a component come from its taps, which carry the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..samplers import Sampler, guide
from .subject import Subject, scatter

Golden = dict[str, np.ndarray]
Pairs = Iterator[tuple[str, np.ndarray]]


def vision(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    yield from subject.taps("vision", {"pixel_values": golden["in.pixel_values"]}).items()
    if "in.pixel_values_other" in golden:
        seen = subject.taps("vision", {"pixel_values": golden["in.pixel_values_other"]})
        yield "embeddings_other", seen["embeddings"]
        yield "last_hidden_other", seen[f"layer_{subject.config.vision.depth - 1}"]


def _latent(subject: Subject, tokens: np.ndarray) -> np.ndarray:
    """[batch, tokens, channels] of a square grid to [batch, channels, h, w]."""
    side = round(tokens.shape[1] ** 0.5)
    return np.ascontiguousarray(tokens.transpose(0, 2, 1)).reshape(len(tokens), -1, side, side)


def streams(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    seen = subject.taps("streams", {"features": golden["in.features"]})
    yield from seen.items()
    yield "latents", _latent(subject, seen["latent_tokens"])


def decoder(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    yield from subject.taps("decoder", {"latent": golden["in.latents"]}).items()


class Conditions:
    """The unpadded conditioning of a list of texts, with the inner tensors of every component on the way."""

    def __init__(self, subject: Subject, texts: list[str], features: np.ndarray | None = None):
        self.subject = subject
        self.ids = [subject.encode(text) for text in texts]
        self.seen: list[dict[str, np.ndarray]] = []
        for row, ids in enumerate(self.ids):
            mine = None if features is None else features[row % len(features)]
            self.seen.append(self._one(ids, mine))

    def _one(self, ids: np.ndarray, features: np.ndarray | None) -> dict[str, np.ndarray]:
        from ..pipelines.condition import embeddings, no_cache

        subject, parts = self.subject, self.subject.parts
        embeds = np.concatenate([embeddings(parts, ids, features), parts.queries])
        image = np.flatnonzero(ids == subject.config.image_token_id)
        rows = np.setdiff1d(np.arange(len(embeds)), image).astype(np.int64)
        seen = subject.taps("language", {
            "inputs_embeds": embeds[None], "past_keys": no_cache(parts), "past_values": no_cache(parts), "rows": rows,
        })  # fmt: skip
        order = np.argsort(np.concatenate([rows, image]), kind="stable").astype(np.int64)
        width = subject.config.language.width
        seen |= subject.taps("condition", {
            "hidden_levels": seen["hidden_levels"], "order": order,
            "image_features": np.zeros((1, 0, width), np.float32) if features is None else features[None],
        })  # fmt: skip
        return {name: value[0] for name, value in seen.items() if value.ndim and len(value) == 1} | {"embeds": embeds}

    @property
    def captions(self) -> list[np.ndarray]:
        return [seen["caption"][None] for seen in self.seen]

    def padded(self, side: str) -> Pairs:
        """Host-side tensors and inner tensors in the original's padded layout."""
        from ..text import pad, positions, with_queries

        parts = self.subject.parts
        ids, attention = pad(self.ids, self.subject.tokenizer.special.end_of_text, side)
        mask = with_queries(attention, len(parts.queries)).astype(np.int32)
        yield "input_ids", ids
        yield "attention_mask", attention
        yield "position_ids", positions(mask)
        yield "mask", mask
        embeds = parts.embed(ids.ravel()).reshape(*ids.shape, -1)
        embeds = np.concatenate([embeds, np.broadcast_to(parts.queries, (len(ids), *parts.queries.shape))], axis=1)
        for row, seen in enumerate(self.seen):
            embeds[row, mask[row].astype(bool)] = seen["embeds"]
        yield "inputs_embeds", embeds
        for name in self.seen[0]:
            rows = [seen[name] for seen in self.seen]
            if all(len(row) == len(seen["embeds"]) for row, seen in zip(rows, self.seen, strict=True)):
                yield name, scatter(rows, mask)
        captions = scatter([seen["caption"] for seen in self.seen], mask)
        half = len(captions) // 2
        yield "projector.out", captions
        yield "dit.caption", np.concatenate([captions[half:], captions[:half]])
        yield "dit.mask", np.concatenate([mask[half:], mask[:half]])


def conditioning(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    found = Conditions(subject, meta["texts"])
    for side in ("right", "left"):
        for name, value in found.padded(side):
            yield f"{side}.{name}", value


def _velocity(
    subject: Subject, latent: np.ndarray, captions: list[np.ndarray], timestep: float, branches: np.ndarray, taps: bool
) -> dict[str, np.ndarray]:
    """One DiT run over `latent` rows picked by `branches`, each under its own caption [1, tokens, width]."""
    from ..pipelines.denoise import stack

    padded, lengths = stack(captions)
    run = subject.taps if taps else subject.outputs
    where = run("context", {"caption": padded})
    steps = run("modulation", {"timesteps": np.full(len(latent), timestep, np.float32)})
    out = run("dit", {
        "latent": latent, "modulation": steps["modulation"], "final_modulation": steps["final_modulation"],
        "branches": branches, "cross_keys": where["cross_keys"], "cross_values": where["cross_values"],
        "lengths": lengths,
    })  # fmt: skip
    return where | steps | out


def dit(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    latent, mask = golden["in.latents"], golden["in.mask"].astype(bool)
    captions = [caption[keep][None] for caption, keep in zip(golden["in.caption"], mask, strict=True)]
    plain = subject.config.dit.position == "none"
    for timestep in golden["in.timesteps"].tolist():
        seen = _velocity(subject, latent, captions, timestep, np.arange(len(latent)), taps=not plain)
        if plain:
            yield f"t{timestep}.out_without_pos_embed", seen["velocity"]
            continue
        for name in ("caption.projected", "caption.normed"):
            if name in seen:
                rows = [row[: len(caption[0])] for row, caption in zip(seen[name], captions, strict=True)]
                seen[name] = scatter(rows, mask)
        if "pos_embed" in seen:
            yield "pos_embed", seen["pos_embed"]
        for name, value in seen.items():
            yield f"t{timestep}.{name}", value
        yield f"t{timestep}.out", seen["velocity"]


def _trajectory(
    subject: Subject, noise: np.ndarray, captions: list[np.ndarray], guidance_scale: float, steps: int
) -> dict[str, np.ndarray]:
    """The whole sampler run; captions are prompts first, then nulls, one of each for every noise row."""
    from ..pipelines.denoise import context, tables

    count = len(captions) // 2
    latent = np.broadcast_to(noise, (count, *noise.shape[1:])).astype(np.float32)
    sampler = Sampler.of(subject.config.sampler, steps)
    where = subject.drive(context(subject.parts, [*captions[count:], *captions[:count]]))
    modulation, final = subject.drive(tables(subject.parts, sampler.timesteps))
    kept: dict[str, list[np.ndarray]] = {"uncond": [], "cond": [], "guided": [], "latents": []}
    for index in range(len(sampler)):
        velocity = subject.outputs("dit", {
            "latent": latent, "branches": np.tile(np.arange(count), 2),
            "modulation": np.repeat(modulation[index : index + 1], count, axis=0),
            "final_modulation": np.repeat(final[index : index + 1], count, axis=0),
            "cross_keys": where.cross_keys, "cross_values": where.cross_values, "lengths": where.lengths,
        })["velocity"]  # fmt: skip
        # the original computes both halves at any scale
        guided = velocity[count:] if guidance_scale == 1 else guide(velocity, guidance_scale)
        latent = sampler.step(index, latent, guided)
        for name, value in zip(kept, (velocity[:count], velocity[count:], guided, latent), strict=True):
            kept[name].append(value)
    return {name: np.stack(values) for name, values in kept.items()} | {
        "sigmas": sampler.sigmas, "timesteps": sampler.timesteps,
    }  # fmt: skip


def _sampled(subject: Subject, golden: Golden, meta: dict[str, Any], captions: list[np.ndarray]) -> Pairs:
    from ..image.postprocess import pictures, unit

    seen = _trajectory(subject, golden["in.noise"], captions, meta["guidance_scale"], meta.get("steps", 20))
    if subject.config.dit.position == "none":
        yield "without_pos_embed.latents", seen["latents"]
        return
    yield from seen.items()
    latent = seen["latents"][-1] / np.float32(subject.config.latent_scale)
    yield "decoder_in", latent
    decoded = np.concatenate([subject.outputs("decoder", {"latent": row[None]})["image"] for row in latent])
    yield "decoded", decoded
    yield "image_resized", unit(decoded[:1])[0].transpose(1, 2, 0)
    yield "image_uint8", pictures(decoded[:1])[0]


def text_to_image(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    found = Conditions(subject, meta["texts"])
    yield from _sampled(subject, golden, meta, found.captions)


def edit(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    features = subject.outputs("vision", {"pixel_values": golden["in.pixel_values"]})["features"]
    found = Conditions(subject, meta["texts"], features)
    for name, value in found.padded("right"):
        if name not in ("input_ids", "attention_mask"):
            yield name, value
    yield from _sampled(subject, golden, meta, found.captions)


def reconstruct(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    from ..image.postprocess import reconstructed_pictures, reconstruction
    from ..image.preprocess import reflect_pad

    pixels, padding = golden["in.pixel_values"], None
    if "use_padding" in meta["functions"]:
        pixels, padding = reflect_pad(pixels, 2 * subject.config.vision.patch_size)
    features = subject.outputs("vision", {"pixel_values": pixels})["features"]
    latent = _latent(subject, subject.outputs("streams", {"features": features})["latent_tokens"])
    decoded = subject.outputs("decoder", {"latent": latent})["image"]
    image = reconstruction(decoded, padding)
    yield "features", features
    yield "latents", latent
    yield "decoded", decoded
    yield "image", image
    yield "image_uint8", reconstructed_pictures(image)[0]


def understand(subject: Subject, golden: Golden, meta: dict[str, Any]) -> Pairs:
    from ..pipelines.condition import embeddings, no_cache
    from ..text import Prompts

    parts = subject.parts
    features = subject.outputs("vision", {"pixel_values": golden["in.pixel_values"]})["features"]
    flat = features.reshape(-1, features.shape[-1])
    prompts = Prompts(subject.tokenizer, subject.config)
    ids = prompts.chat(meta["question"], [len(features)], tile_tokens=features.shape[1]).ids
    embeds = embeddings(parts, ids, flat)[None]
    yield "features", features
    yield "input_ids", ids[None]
    yield "inputs_embeds", embeds
    keys = values = no_cache(parts)
    wanted = golden["new_ids"][0]
    chosen, logits = [], []
    for position in range(len(wanted)):
        out = subject.outputs("language", {
            "inputs_embeds": embeds, "past_keys": keys, "past_values": values,
            "rows": np.array([embeds.shape[1] - 1], np.int64),
        })  # fmt: skip
        keys, values = out["keys"], out["values"]
        logits.append(subject.outputs("lm_head", {"hidden_states": out["hidden_levels"][-1, :, 0]})["logits"])
        chosen.append(int(logits[-1][0].argmax()))
        # the golden token goes on, so that one near tie does not spoil every later row
        embeds = parts.embed(wanted[position : position + 1])[None]
    yield "new_ids", np.array([chosen])
    yield "logits", np.stack(logits, axis=1)
    for name, cache in (("key", np.asarray(keys)), ("value", np.asarray(values))):
        for layer in range(len(cache)):
            yield f"cache.{name}_{layer}", cache[layer]


FILES: dict[str, Callable[[Subject, Golden, dict[str, Any]], Pairs]] = {
    "vision": vision, "streams": streams, "decoder": decoder, "conditioning": conditioning, "dit": dit,
    "t2i": text_to_image, "edit": edit, "recon": reconstruct, "understand": understand,
}  # fmt: skip


def recipe(file: str) -> Callable[[Subject, Golden, dict[str, Any]], Pairs] | None:
    """The function for a golden file: by its name, or by its name before the first underscore (t2i_0, recon_padded)."""
    return FILES.get(file) or FILES.get(file.split("_")[0])
