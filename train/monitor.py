"""Quick scores of the model in training, by the judge of `spar_bench.quality`, on held-out compositions."""

from __future__ import annotations

import numpy as np
import torch
from spar_bench.quality import editing, evaluate, judge, maps, tasks
from spar_engine.image.postprocess import pictures

from . import data, sampling
from .lab import Lab
from .pixels import psnr, shrunk
from .world import edits, sample
from .world.palette import BACKGROUNDS, COLOURS, RELATIONS, SHAPES
from .world.scene import Scenes, instances, render
from .world.words import Asked, Part


def decoded(lab: Lab, latent: torch.Tensor, scenes: Scenes, images: np.ndarray) -> dict[str, float]:
    """PSNR of pictures decoded from the tokenizer's latents, and the share that the judge still reads rightly."""
    made = lab.model.decode(latent).float()
    target = data.targets(images)
    right = evaluate.named(scenes, judge.observe(pictures(made.numpy())))
    return {"psnr": psnr(shrunk(made, target.shape[-1]), target), "judged": float(np.mean(right))}


def drawing(lab: Lab, each: int = 16, seed: int = 0) -> dict[str, float]:
    """Share of fulfilled requests in each of GenEval's categories, `each` requests a category."""
    asked = [r for c in tasks.CATEGORIES for r in tasks.requests(c, each, seed)]
    return fulfilled(asked, sampling.draw(lab, [r.prompt for r in asked], seed=seed))


def painting(lab: Lab, each: int = 16, seed: int = 0) -> dict[str, float]:
    """As `drawing`, on the conditions that the DiT is first trained with: what it can reach under a perfect one."""
    asked = [r for c in tasks.CATEGORIES for r in tasks.requests(c, each, seed)]
    branches = []
    for requests in ([None] * len(asked), [in_slots(r) for r in asked]):
        rows = lab.heads.painted.requests(requests)
        branches.append((rows, torch.ones(rows.shape[:2], dtype=torch.int64)))
    return fulfilled(asked, sampling.paint(lab, *branches, seed=seed))


def in_slots(request: tasks.Request) -> Asked:
    """The same request as training states it."""
    parts = tuple(
        Part(w.number, SHAPES.index(w.shape), None if w.colour is None else COLOURS.index(w.colour),
             None if w.large is None else int(w.large))
        for w in request.wanted
    )  # fmt: skip
    relation = None if request.relation is None else RELATIONS.index(request.relation)
    return Asked(parts, relation, None if request.background is None else BACKGROUNDS.index(request.background))


def fulfilled(asked: list[tasks.Request], drawn: np.ndarray) -> dict[str, float]:
    seen = judge.observe(drawn)
    each = len(asked) // len(tasks.CATEGORIES)
    right = np.array([r.fulfilled(o) for r, o in zip(asked, seen, strict=True)]).reshape(-1, each).mean(1)
    exact = np.mean([r.exact(o) for r, o in zip(asked, seen, strict=True)])
    return {"overall": float(right.mean()), "exact": float(exact)} | dict(
        zip(tasks.CATEGORIES, map(float, right), strict=True)
    )


def editing_(lab: Lab, each: int = 8, seed: int = 0) -> dict[str, float]:
    """Share of edits that were carried out, by kind, and PSNR outside of the edit."""
    made = [e for kind in edits.KINDS for e in editing.held_out_edits(kind, each, seed)]
    features = lab.model.features(data.pixel_values(np.stack([e.picture() for e in made]))).float()
    drawn = sampling.draw(lab, [e.instruction for e in made], features=features, seed=seed)
    seen = judge.observe(drawn)
    done = np.array([e.done(o) for e, o in zip(made, seen, strict=True)]).reshape(-1, each).mean(1)
    kept = [k for e, o, d in zip(made, seen, drawn, strict=True) if (k := e.kept(o, d)) is not None]
    return {"edit": float(done.mean()), "kept_db": float(np.mean(kept))} | {
        f"edit_{kind}": float(share) for kind, share in zip(edits.KINDS, done, strict=True)
    }


def segmentation(lab: Lab, number: int = 24, seed: int = 0) -> dict[str, float]:
    """Mean IoU of the engine's own segmentation request."""
    scenes = sample.held_out_scenes(np.random.default_rng(seed), number)
    features = lab.model.features(data.pixel_values(render(scenes))).float()
    drawn = sampling.draw(lab, [edits.MAP_INSTRUCTIONS[0]] * number, features=features, seed=seed)
    both = [maps.instance_iou(a, b) for a, b in zip(maps.regions(drawn), instances(scenes), strict=True)]
    matched, ordered = np.mean(both, axis=0)
    return {"miou": float(matched), "miou_ordered": float(ordered)}
