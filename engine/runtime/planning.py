"""What a request will hold, told before it runs, and kept within the engine's budget."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..components import components
from ..errors import BackendError, InputError
from ..requests import Sampling, latent_shape, whole
from . import plan as plans
from .budget import Budgeted
from .plan import Axes, Plan

USUAL_TOKENS = 64  # of a prompt that is not given


class Planned:
    """Memory plans of an `Engine`."""

    def plan(
        self: Any,
        task: str,
        prompt: str | None = None,
        *,
        size: int | tuple[int, int] | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        image: bool = True,
        max_tiles: int = 1,
        max_new_tokens: int = 256,
    ) -> Plan:
        """Memory that a request will need, without running or loading anything. Options are those of the task.

        task     "generate", "edit", "segment", "reconstruct" or "ask"
        prompt   prompt, instruction or question; None counts 64 tokens
        size     of the picture that is drawn; of "reconstruct" the side of the picture
        image    "ask" about a picture, or without one
        returns  bytes by component, and whether they fit the engine's `memory_budget`; `print` it for a table
        errors   BackendError for a backend that cannot tell (torch)
        """
        config = self.config
        if task == "reconstruct":
            side = config.vision.image_size if size is None else whole("size", size, 1, 4 * config.vision.image_size)
            return self._planned(task, plans.reconstructing(config, side))
        if task == "ask":
            tiles = max_tiles + (max_tiles > 1)  # and the thumbnail
            tokens = self._prompt_tokens("chat", prompt, [tiles] if image else [])
            answer = whole("max_new_tokens", max_new_tokens, 1, config.language.max_positions)
            return self._planned(task, plans.asking(config, tokens, answer, image))
        if task not in ("generate", "edit", "segment"):
            raise InputError(f"task={task!r} is unknown; there are generate, edit, segment, reconstruct and ask")
        sampling = self._sampling(guidance_scale, seed=0, num_inference_steps=num_inference_steps, size=size)
        kind = "generation" if task == "generate" else "edit"
        return self._plan_drawing(task, [self._prompt_tokens(kind, prompt)] * (1 + sampling.guided), sampling)

    def _prompt_tokens(self: Any, kind: str, text: str | None, *more: Any) -> int:
        if text is None:
            return len(getattr(self._prompts, kind)("x", *more)) + USUAL_TOKENS
        return len(getattr(self._prompts, kind)(text, *more))

    def _plan_drawing(self: Any, task: str, prompts: Sequence[int], sampling: Sampling) -> Plan:
        latent = latent_shape(sampling.size, self.config)
        joint = self._max_batch if hasattr(self.backend, "together") else 1
        return self._planned(task, plans.drawing(self.config, list(prompts), latent, sampling.num_inference_steps,
                                                 edit=task != "generate", joint=joint))  # fmt: skip

    def _planned(self: Any, task: str, runs: dict[str, Axes]) -> Plan:
        if not hasattr(self.backend, "memory"):
            raise BackendError(f"{self.backend.name}: this backend cannot tell what it will hold; use native or "
                               "onnxruntime")  # fmt: skip
        held = plans.values(self.config, components(self.config), runs)
        needs = {name: plans.need(self.backend, name, axes) for name, axes in runs.items()}
        return Plan(task, needs, held, self._parts.store.most, self._budget_bytes)

    def _set_budget(self: Any, budget: int | None, max_batch: int) -> None:
        self._budget_bytes, self._max_batch, self._budget = budget, max_batch, None
        if budget is None:
            return
        if not hasattr(self.backend, "memory"):
            raise BackendError(f"{self.backend.name}: memory_budget is not supported by this backend; use native or "
                               "onnxruntime")  # fmt: skip
        self._budget = Budgeted(self.backend, budget, self._parts.store.most)

    def _checked(self: Any, make: Callable[[], Plan]) -> Plan | None:
        """The plan of a request where there is a budget; OverBudget when it cannot fit."""
        return None if self._budget is None else self._budget.check(make())

    def _within(self: Any, plan: Plan | None) -> AbstractContextManager[None]:
        """Room for a request while it runs; without a budget nothing is kept."""
        return contextlib.nullcontext() if plan is None else self._budget.admitted(plan)
