"""Every task of an engine on held-out compositions, scored by the judge. Uses the public engine API alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from spar_train.world import edits, questions, sample
from spar_train.world.scene import Scenes, instances, render

from . import editing, fidelity, judge, maps, stats, tasks

SHOWN = 6  # samples of each row on the contact sheet


@dataclass
class Sheet:
    """Rows of pictures for the contact sheet: (title, [(caption, picture), ...])."""

    rows: list[tuple[str, list[tuple[str, np.ndarray]]]] = field(default_factory=list)

    def row(self, title: str, pictures: list[tuple[str, np.ndarray]]) -> None:
        self.rows.append((title, pictures))


Progress = Callable[[str, int], Iterator[int]]  # (what, how many) -> counts, with a bar


def judge_accuracy(number: int, seed: int = 0) -> dict[str, Any]:
    """Objects that the judge names rightly on ground truth: shape, colour, size and place; and on softened copies."""
    rng = np.random.default_rng([seed, 7])
    scenes = sample.propose(rng, number)
    pictures = render(scenes)
    soft = np.stack([_softened(p, rng) for p in pictures])
    return {
        name: stats.share(named(scenes, judge.observe(seen))) for name, seen in (("plain", pictures), ("soft", soft))
    }


def _softened(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Through the 28/32 resize, a mild blur and mild noise."""
    from PIL import Image, ImageFilter

    side = picture.shape[0]
    image = Image.fromarray(picture).resize((side * 8 // 7,) * 2, Image.BICUBIC).resize((side, side), Image.BILINEAR)
    blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(0.5)), np.float64)
    return np.clip(blurred + rng.normal(0, 5, blurred.shape), 0, 255).astype(np.uint8)


def named(scenes: Scenes, seen: list[judge.Observation]) -> list[bool]:
    right = []
    for i, o in enumerate(seen):
        whole = editing.Edit("", "", scenes.take([i]), scenes.take([i]))
        right.append(whole.done(o))
    return right


def drawing(engine: Any, number: int, seed: int, progress: Progress, sheet: Sheet) -> dict[str, Any]:
    """GenEval's six categories."""
    found: dict[str, Any] = {}
    for category in tasks.CATEGORIES:
        asked = tasks.requests(category, number, seed)
        drawn = [engine.generate(asked[i].prompt, seed=seed * 100_003 + i).pictures[0].pixels
                 for i in progress(category, number)]  # fmt: skip
        seen = judge.observe(np.stack(drawn))
        right = [r.fulfilled(o) for r, o in zip(asked, seen, strict=True)]
        exact = [r.exact(o) for r, o in zip(asked, seen, strict=True)]
        found[category] = stats.share(right) | {"nothing_else": sum(exact) / number}
        sheet.row(
            category, [(f"{'+' if ok else '-'} {r.prompt}", p) for r, p, ok in zip(asked, drawn, right, strict=True)]
        )
    values = [found[c]["value"] for c in tasks.CATEGORIES]
    half = 1.96 * np.sqrt(sum(v * (1 - v) / number for v in values)) / len(values)
    overall = float(np.mean(values))
    return {"overall": {"value": overall, "low": overall - half, "high": overall + half, "samples": 6 * number}} | found


def editing_(engine: Any, number: int, seed: int, progress: Progress, sheet: Sheet) -> dict[str, Any]:
    """Edits by kind, `number` in all kinds together, and how well the rest of the picture stayed."""
    each = -(-number // len(edits.KINDS))
    found, every, kept = {}, [], []
    for kind in edits.KINDS:
        asked = editing.held_out_edits(kind, each, seed)
        sources = [e.picture() for e in asked]
        drawn = [engine.edit(sources[i], asked[i].instruction, seed=seed * 100_003 + i).pictures[0].pixels
                 for i in progress(f"edit: {kind}", each)]  # fmt: skip
        seen = judge.observe(np.stack(drawn))
        right = [e.done(o) for e, o in zip(asked, seen, strict=True)]
        kept += [k for e, o, d in zip(asked, seen, drawn, strict=True) if (k := e.kept(o, d)) is not None]
        found[kind] = stats.share(right)
        every += right
        shown = [(("source", s), (f"{'+' if ok else '-'} {e.instruction}", d))
                 for e, s, d, ok in zip(asked, sources, drawn, right, strict=True)]  # fmt: skip
        sheet.row(f"edit: {kind}", [item for pair in shown[: SHOWN // 2] for item in pair])
    return {"success": stats.share(every), "outside_psnr": stats.mean(kept)} | found


def asking(engine: Any, number: int, seed: int, progress: Progress) -> dict[str, Any]:
    """Exact match of answers, `number` questions over all kinds; whole descriptions are counted apart."""
    rng = np.random.default_rng([seed, 8])
    kinds = [k for k in questions.KINDS if k != "describe"]
    each = -(-number // len(kinds))
    found, every = {}, []
    for kind in (*kinds, "describe"):
        asked: list[tuple[np.ndarray, str, str]] = []
        while len(asked) < each:
            scenes = sample.held_out_scenes(rng, 8)
            pictures = render(scenes)
            made = [(pictures[i], q) for i in range(8) if (q := questions.question(rng, scenes, i, kind))]
            asked += [(picture, *q) for picture, q in made]
        right = [engine.ask(asked[i][0], asked[i][1], max_new_tokens=48).text.strip() == asked[i][2]
                 for i in progress(f"ask: {kind}", each)]  # fmt: skip
        found[kind] = stats.share(right)
        every += right if kind != "describe" else []
    return {"exact_match": stats.share(every)} | found


def reconstruction(engine: Any, number: int, seed: int, progress: Progress, sheet: Sheet) -> dict[str, Any]:
    pictures = render(sample.held_out_scenes(np.random.default_rng([seed, 9]), number))
    made = [engine.reconstruct(pictures[i]).pictures[0].pixels for i in progress("reconstruct", number)]
    sheet.row("reconstruct", [x for a, b in list(zip(pictures, made, strict=True))[: SHOWN // 2]
                              for x in (("source", a), (f"{fidelity.psnr(a, b):.1f} dB", b))])  # fmt: skip
    return {name: stats.mean([measure(a, b) for a, b in zip(pictures, made, strict=True)])
            for name, measure in (("psnr", fidelity.psnr), ("ssim", fidelity.ssim), ("l1", fidelity.l1))}  # fmt: skip


def segmentation(engine: Any, number: int, seed: int, progress: Progress, sheet: Sheet) -> dict[str, Any]:
    scenes = sample.held_out_scenes(np.random.default_rng([seed, 10]), number)
    pictures = render(scenes)
    drawn = [engine.segment(pictures[i], seed=seed * 100_003 + i).picture.pixels for i in progress("segment", number)]
    both = [maps.instance_iou(a, b) for a, b in zip(maps.regions(np.stack(drawn)), instances(scenes), strict=True)]
    sheet.row("segment", [x for a, b, (iou, _) in list(zip(pictures, drawn, both, strict=True))[: SHOWN // 2]
                          for x in (("source", a), (f"IoU {iou:.2f}", b))])  # fmt: skip
    return {"miou": stats.mean([m for m, _ in both]), "miou_in_reading_order": stats.mean([o for _, o in both])}
