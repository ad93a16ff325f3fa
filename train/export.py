"""A run's learned weights as a checkpoint of the family: bfloat16, the engine's own writers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from spar_engine.config.write import write_checkpoint_config
from spar_engine.weights.dtypes import to_bf16
from spar_engine.weights.writer import write_safetensors

from .lab import Lab
from .stages import STAGES


def export(run: Path, out: Path, before: str | None = None) -> None:
    """Writes config.json and its sub-configurations, tokenizer.json, model.safetensors and training.json to `out`.

    before  a stage whose results, and those of the stages after it, are left out"""
    lab = Lab(run, list(STAGES))
    learned = lab.load_learned(before)
    items = []
    for name, tensor in sorted(lab.model.state_dict().items()):
        bits = to_bf16(tensor.float().numpy())
        items.append((name, "BF16", tuple(tensor.shape), lambda bits=bits: bits))
    out.mkdir(parents=True, exist_ok=True)
    write_checkpoint_config(out, lab.config)
    shutil.copyfile(run / "tokenizer.json", out / "tokenizer.json")
    write_safetensors(out / "model.safetensors", items, {"format": "pt"})
    (out / "training.json").write_text(json.dumps(summary(run, learned), indent=1) + "\n", encoding="utf-8")


def summary(run: Path, stages: list[str]) -> dict[str, dict[str, float]]:
    """For every stage: its steps, its minutes of training and its last scores."""
    found = {}
    for name in stages:
        lines = [json.loads(line) for line in (run / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        scores = next((line for line in reversed(lines) if any(k.startswith("eval_") for k in line)), {})
        found[name] = {"steps": lines[-1]["step"], "minutes": round(lines[-1]["elapsed"] / 60, 1)} | {
            k.removeprefix("eval_"): v for k, v in scores.items() if k.startswith("eval_")
        }
    return found
