"""`python -m spar_bench.quality.publish`: puts `bench/results/quality/**/*.json` into the pages that quote them.

A page holds `<!-- quality:begin -->` and `<!-- quality:end -->`; what stands between them is made here, never typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results" / "quality"
PAGES = (ROOT / "README.md", ROOT / "engine" / "assets" / "spar-nano" / "MODEL_CARD.md")
TRAINING = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"

# What is asked of spar-nano: (part, score, words, least value, decimals).
ROWS = (
    ("text_to_image", "overall", "text to image, GenEval's six categories", 0.90, 3),
    ("text_to_image", "single", "· single object", 0.99, 3),
    ("text_to_image", "two", "· two objects", 0.92, 3),
    ("text_to_image", "counting", "· counting", 0.85, 3),
    ("text_to_image", "colours", "· colours", 0.97, 3),
    ("text_to_image", "position", "· position", 0.85, 3),
    ("text_to_image", "attribution", "· attribution", 0.85, 3),
    ("editing", "success", "edits carried out", 0.85, 3),
    ("editing", "outside_psnr", "PSNR outside of the edit, dB", 24.0, 1),
    ("understanding", "exact_match", "questions, exact match", 0.95, 3),
    ("reconstruction", "psnr", "reconstruction PSNR, dB", 28.0, 1),
    ("reconstruction", "ssim", "reconstruction SSIM", None, 3),
    ("segmentation", "miou", "segmentation mIoU", 0.80, 3),
)
# What is left out, the results with it and without it, and the scores that tell.
ABLATIONS = (
    ("Dynamic Token Routing: the connector takes the last level", "ablations/router-with", "ablations/router-without",
     (("text_to_image", "overall"), ("editing", "success"), ("understanding", "exact_match"))),
    ("the pixel stream", "ablations/pixel-stream-with", "ablations/pixel-stream-without",
     (("reconstruction", "psnr"), ("reconstruction", "ssim"))),
    ("self-alignment, L_align", "ablations/alignment-with", "ablations/alignment-without",
     (("text_to_image", "overall"), ("editing", "success"))),
    ("Semantic Generative Tuning", "native-bf16", "before-sgt",
     (("segmentation", "miou"), ("understanding", "exact_match"))),
)  # fmt: skip
Record = dict[str, Any]


def records(folder: Path = RESULTS) -> dict[str, Record]:
    """Every result by its file's name; the one that the others are held against comes first."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return dict(sorted(found.items(), key=lambda item: (item[0] != "native-bf16", item[0])))


def cell(record: Record, part: str, name: str, decimals: int) -> str:
    score = record.get(part, {}).get(name)
    if score is None:
        return "–"
    value, low, high = (f"{score[key]:.{decimals}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} … {high})"


def table(found: dict[str, Record]) -> str:
    """Markdown: a row a score, a column a result, 95 % intervals in brackets."""
    heads = [f"{name}, n = {record['about']['samples']}" for name, record in found.items()]
    lines = ["| held-out compositions | reach | " + " | ".join(heads) + " |", "|---|---|" + "---|" * len(found)]
    for part, name, words, least, decimals in ROWS:
        reach = "–" if least is None else f"{least:.{min(decimals, 2)}f}"
        cells = [cell(record, part, name, decimals) for record in found.values()]
        lines.append(f"| {words} | {reach} | " + " | ".join(cells) + " |")
    first = next(iter(found.values()))["about"]
    asked = f"n samples a category and task, {first['steps']} steps, default guidance"
    lines += ["", f"{asked}, seed {first['seed']}; `spar-bench quality --json FILE`."]
    return "\n".join(lines)


def ablations(folder: Path = RESULTS) -> str:
    """Markdown: a row a score, with an idea and without it."""
    asked = {(part, name): (words, decimals) for part, name, words, _, decimals in ROWS}
    lines = ["| left out | score | with it | without it |", "|---|---|---|---|"]
    for title, *files, scores in ABLATIONS:
        both = [json.loads((folder / f"{file}.json").read_text(encoding="utf-8")) for file in files]
        for number, (part, name) in enumerate(scores):
            words, decimals = asked[part, name]
            cells = " | ".join(cell(record, part, name, decimals) for record in both)
            lines.append(f"| {'' if number else title} | {words} | {cells} |")
    return "\n".join(lines)


def published(text: str, block: str, name: str) -> str:
    """`text` with `block` between its marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{name}: needs one {BEGIN} and one {END}")
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Rewrites the pages; 0 when done."""
    found = records()
    if not found:
        raise SystemExit(f"{RESULTS}: no results; make one with: spar-bench quality --json {RESULTS}/native-bf16.json")
    for page in PAGES:
        page.write_text(published(page.read_text(encoding="utf-8"), table(found), str(page)), encoding="utf-8")
        print(page.relative_to(ROOT))
    TRAINING.write_text(published(TRAINING.read_text(encoding="utf-8"), ablations(), str(TRAINING)), encoding="utf-8")
    print(TRAINING.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
