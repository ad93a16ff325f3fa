"""Runs one stage: optimiser, schedule, EMA, log, checkpoints; resumes where it stopped.

The budget is processor time of the training thread: what other programs take away does not shorten the training."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from . import ranks
from .lab import SEED, Lab, write_aside

LOG_EVERY, SAVE_EVERY = 10.0, 90.0  # seconds
WARMUP = 50  # steps
LEAST_RATE = 0.03  # of the peak, at the end of the budget
EMA = 0.997


class Stage(Protocol):
    name: str
    rate: float  # peak learning rate
    parts: dict[str, float]  # prefixes of the trained tensors' names -> factor of the rate

    def __init__(self, lab: Lab): ...
    def prepare(self) -> None:
        """Once, when the stage starts from the results of those before it."""

    def loss(self, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float], int]:
        """(loss, what to log, samples) of one fresh batch."""

    def evaluate(self) -> dict[str, float]:
        """Scores on held-out compositions."""


def rate_at(step: int, progress: float) -> float:
    """Share of the peak rate: linear warm-up over steps, cosine over the share of the budget that is spent."""
    cosine = LEAST_RATE + (1 - LEAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return min(1.0, (step + 1) / WARMUP) * cosine


class Trainer:
    def __init__(self, lab: Lab, stage: Stage, minutes: float, steps: int | None = None, evaluate_every: float = 240.0):
        self.lab, self.stage, self.seconds, self.steps = lab, stage, 60 * minutes, steps
        self.evaluate_every = evaluate_every
        self.folder = lab.run / stage.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trained, groups = {}, []
        every = dict(lab.model.named_parameters()) | {f"heads.{n}": p for n, p in lab.heads.named_parameters()}
        for parameter in every.values():
            parameter.requires_grad_(False)
        for prefix, factor in stage.parts.items():
            if prefix in lab.absent():
                continue
            found = {n: p for n, p in every.items() if n.startswith(prefix) and n not in self.trained}
            if not found:
                raise ValueError(f"stage {stage.name}: no tensor is called {prefix}*")
            self.trained |= found
            for decay, pick in ((0.02, [p for p in found.values() if p.ndim > 1]),
                                (0.0, [p for p in found.values() if p.ndim <= 1])):  # fmt: skip
                if pick:
                    groups.append({"params": pick, "weight_decay": decay, "factor": factor})
        for parameter in self.trained.values():
            parameter.requires_grad_(True)
        self.optimiser = torch.optim.AdamW(groups, lr=stage.rate, betas=(0.9, 0.97), eps=1e-8)
        # Buffers (running statistics) of trained parts travel with the weights, without averaging.
        self.buffers = {n: t for n, t in lab.tensors().items()
                        if n not in every and any(n.startswith(p) for p in stage.parts)}  # fmt: skip
        self.step, self.elapsed = 0, 0.0
        if not self._resume():
            lab.load_learned(before=stage.name)
            stage.prepare()
        self.ema = getattr(self, "ema", None) or {n: p.detach().clone() for n, p in self.trained.items()}

    def _resume(self) -> bool:
        path = self.folder / "state.pt"
        if not path.exists():
            return False
        self.lab.load_learned(before=self.stage.name)
        state = torch.load(path, weights_only=True)
        with torch.no_grad():
            for name, value in state["weights"].items():
                self.trained[name].copy_(value)
            for name, value in state["buffers"].items():
                self.buffers[name].copy_(value)
        self.ema, self.step, self.elapsed = state["ema"], state["step"], state["elapsed"]
        self.optimiser.load_state_dict(state["optimiser"])
        return True

    def save(self) -> None:
        learned = {n: t.clone() for n, t in (self.ema | self.buffers).items()}
        state = {"weights": {n: p.detach() for n, p in self.trained.items()}, "buffers": self.buffers, "ema": self.ema,
                 "step": self.step, "elapsed": self.elapsed, "optimiser": self.optimiser.state_dict()}  # fmt: skip
        write_aside(self.folder / "learned.pt", lambda path: torch.save(learned, path))
        write_aside(self.folder / "state.pt", lambda path: torch.save(state, path))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Scores of the averaged weights."""
        now = {n: p.detach().clone() for n, p in self.trained.items()}
        for name, parameter in self.trained.items():
            parameter.copy_(self.ema[name])
        self.lab.heads.eval()
        try:
            with torch.autocast("cpu", torch.bfloat16):
                return self.stage.evaluate()
        finally:
            self.lab.heads.train()
            for name, parameter in self.trained.items():
                parameter.copy_(now[name])

    def progress(self) -> float:
        return self.step / self.steps if self.steps else self.elapsed / self.seconds

    def train_step(self) -> tuple[dict[str, float], int]:
        rng = np.random.default_rng([SEED, self.lab.stages.index(self.stage.name), self.step, ranks.rank()])
        torch.manual_seed(int(rng.integers(2**62)))
        for group in self.optimiser.param_groups:
            group["lr"] = self.stage.rate * group["factor"] * rate_at(self.step, self.progress())
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            loss, seen, samples = self.stage.loss(rng)
        loss.backward()
        ranks.average(p.grad for p in self.trained.values() if p.grad is not None)
        norm = nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"stage {self.stage.name}: the gradient is not finite at step {self.step}")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(EMA, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.ema.values()), [p.detach() for p in self.trained.values()], 1 - decay)
        return seen | {"norm": float(norm)}, samples

    def run(self) -> dict[str, float]:
        """Trains until the budget is spent; returns the last scores."""
        done = min(100, int(100 * self.progress()))
        bar = tqdm(total=100, initial=done, desc=self.stage.name, unit="%", mininterval=5, disable=ranks.rank() > 0)
        logged, saved, judged = [time.monotonic()] * 3
        sums: dict[str, float] = {}
        steps = samples = 0
        scores: dict[str, float] = {}
        while self.progress() < 1:
            before = time.thread_time()
            seen, number = self.train_step()
            now = time.monotonic()
            self.elapsed = ranks.agreed(self.elapsed + time.thread_time() - before)
            steps, samples = steps + 1, samples + number
            for key, value in seen.items():
                sums[key] = sums.get(key, 0.0) + value
            if now - logged > LOG_EVERY:
                rate = ranks.count() * samples / (now - logged)
                self.log({k: v / steps for k, v in sums.items()} | {"samples_per_s": rate})
                bar.set_postfix({k: f"{v / steps:.4g}" for k, v in sums.items()}, refresh=False)
                bar.update(min(100, int(100 * self.progress())) - bar.n)
                sums, steps, samples, logged = {}, 0, 0, now
            if ranks.rank():
                continue
            if now - saved > SAVE_EVERY:
                self.save()
                saved = time.monotonic()
            if now - judged > self.evaluate_every:
                scores = self.evaluate()
                self.log({f"eval_{k}": v for k, v in scores.items()})
                tqdm.write(
                    f"{self.stage.name} step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items())
                )
                judged = logged = time.monotonic()
        if ranks.rank():
            return {}
        self.save()
        scores = self.evaluate()
        self.log({f"eval_{k}": v for k, v in scores.items()})
        tqdm.write(
            f"{self.stage.name} done at step {self.step}: " + ", ".join(f"{k} {v:.4g}" for k, v in scores.items())
        )
        bar.close()
        return scores

    def log(self, values: dict[str, float]) -> None:
        if ranks.rank():
            return
        line = {"step": self.step, "elapsed": round(self.elapsed, 1)} | {
            k: float(f"{v:.6g}") for k, v in values.items()
        }
        with open(Path(self.folder) / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
