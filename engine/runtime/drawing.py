"""The tasks that draw: text to image, editing, segmentation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..pipelines.generate import Prompt, image_from
from ..requests import Cancel, Sampling, Terms, one_each, share
from ..results import Images, Picture, Segmentation
from .progress import Progress, watched


class Drawing:
    """Part of `Engine`: its tasks that end in sampler steps and the decoder."""

    def generate(
        self: Any,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        seed: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        num_images: int = 1,
        latents: np.ndarray | None = None,
        size: int | tuple[int, int] | None = None,
        native: bool = False,
        on_step: Callable[[Progress], None] | None = None,
        cancel: Cancel = None,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Images:
        """Text to image.

        prompt               one prompt, or several
        negative_prompt      takes the prompt's place in the other guidance branch; one for all, or one for each prompt
        seed                 0 .. 2**64 - 1; the same seed gives the same start everywhere; None draws a fresh one
        num_inference_steps  sampler steps, 1 .. 1000
        guidance_scale       any finite number; 1 runs the prompt alone, at half the cost; None: the checkpoint's own,
                             which is 4.5 where it names none
        num_images           pictures of each prompt; picture k is the same whatever num_images is
        latents              the caller's own noise, [num_images, channels, h, w], instead of the seed's
        size                 (height, width) of the pictures, or one side: multiples of 32 from half to twice the size
                             that the model was trained at; other sizes than that one are marked in `settings`
        native               keep the decoder's full size (512 for the published models) instead of 28/32 of it; a
                             `size` that is given is kept as it is
        on_step              called with a `Progress` after every sampler step
        cancel, priority, deadline  see `Engine`
        returns              pictures, prompt by prompt
        """
        terms = Terms.of(priority, deadline, cancel)
        sampling = self._sampling(guidance_scale, seed=seed, num_inference_steps=num_inference_steps,
                                  num_images=num_images, latents=latents, size=size)  # fmt: skip
        prompts = list(prompt) if isinstance(prompt, (list, tuple)) else [prompt]
        if not prompts:
            raise InputError("prompt is an empty list; give at least one prompt")
        negatives = one_each("negative_prompt", negative_prompt, len(prompts))
        self._refuse_unused(negative_prompt, sampling)
        shared = self._shared("generation")
        jobs = []
        for text, negative in zip(prompts, negatives, strict=True):
            other = Prompt(ids=self._prompts.unconditional(negative).ids, shared=shared) if sampling.guided else None
            positive = Prompt(ids=self._prompts.generation(text).ids, shared=shared)
            settings = self._stamp("generate", prompt=text, negative_prompt=negative) | sampling.settings(self.config)
            jobs.append(((positive, other), None, settings))
        return self._draw("generate", jobs, sampling, native, on_step, terms)

    def edit(
        self: Any,
        image: Any,
        instruction: str,
        *,
        negative_prompt: str | None = None,
        seed: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        num_images: int = 1,
        latents: np.ndarray | None = None,
        size: int | tuple[int, int] | None = None,
        native: bool = False,
        on_step: Callable[[Progress], None] | None = None,
        cancel: Cancel = None,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Images:
        """Change a picture as the instruction says; the other options are those of `generate`.

        image  path, bytes, file, PIL image or array [height, width, 3] uint8; squashed to the model's square size
        """
        terms = Terms.of(priority, deadline, cancel)
        sampling = self._sampling(guidance_scale, seed=seed, num_inference_steps=num_inference_steps,
                                  num_images=num_images, latents=latents, size=size)  # fmt: skip
        self._refuse_unused(negative_prompt, sampling)
        job = self._editing("edit", self._open(image), instruction, negative_prompt, sampling)
        return self._draw("edit", [job], sampling, native, on_step, terms)

    def segment(
        self: Any,
        image: Any,
        instruction: str | None = None,
        *,
        seed: int | None = 0,
        num_inference_steps: int = 20,
        guidance_scale: float | None = None,
        latents: np.ndarray | None = None,
        min_region: float = 0.001,
        on_step: Callable[[Progress], None] | None = None,
        cancel: Cancel = None,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Segmentation:
        """Paint every object in its own colour (the edit path), and find the regions in the result.

        instruction  what to paint; None asks for every object
        min_region   smallest region to report, as a share of the picture, 0 .. 1
        returns      the colour map, and its regions in the source picture's coordinates
        """
        from ..image import regions
        from ..text import SEGMENT_INSTRUCTION

        terms = Terms.of(priority, deadline, cancel)
        sampling = self._sampling(guidance_scale, seed=seed, num_inference_steps=num_inference_steps, latents=latents)
        min_region = share("min_region", min_region, zero=True)
        source = self._open(image)
        job = self._editing("segment", source, SEGMENT_INSTRUCTION if instruction is None else instruction, None,
                            sampling)  # fmt: skip
        drawn = self._draw("segment", [job], sampling, False, on_step, terms)
        found = regions(drawn.pictures[0].pixels, source.shape[:2], least=min_region)
        return Segmentation(drawn.pictures[0], found, drawn.timings)

    def _sampling(self: Any, guidance_scale: float | None, **options: Any) -> Sampling:
        own = self.config.guidance_scale if guidance_scale is None else guidance_scale
        return Sampling(guidance_scale=own, **options)

    def _refuse_unused(self: Any, negative_prompt: Any, sampling: Sampling) -> None:
        if negative_prompt is not None and not sampling.guided:
            raise InputError("negative_prompt has no effect at guidance_scale=1; leave it out or raise guidance_scale")

    def _editing(self: Any, task: str, source: np.ndarray, instruction: str, negative: str | None, sampling: Sampling):
        from ..image.preprocess import edit_pixels

        shared = self._shared("edit")
        positive = Prompt(ids=self._prompts.edit(instruction).ids, shared=shared)
        other = Prompt(ids=self._prompts.edit_unconditional(negative).ids, shared=shared) if sampling.guided else None
        pixels = edit_pixels(source, self.config.vision.image_size)
        settings = self._stamp(task, instruction=instruction, negative_prompt=negative) | sampling.settings(self.config)
        return (positive, other), pixels, settings

    def _draw(
        self: Any,
        task: str,
        jobs: list[tuple[tuple[Prompt, Prompt | None], np.ndarray | None, dict[str, Any]]],
        sampling: Sampling,
        native: bool,
        on_step: Any,
        terms: Terms,
    ) -> Images:
        """Pictures of every job: the prompts of its branches, the pixels it edits, and what its pictures remember."""
        from ..image.postprocess import pictures

        made, begin, noises = [], time.perf_counter(), sampling.noises(self.config)
        tokens = max(len(prompt.ids) for prompts, _, _ in jobs for prompt in prompts if prompt is not None)
        plan = self._checked(lambda: self._plan_drawing(task, [tokens] * (1 + sampling.guided), sampling))
        with self._scheduler.request(task, terms) as request, self._within(plan):
            see = watched(on_step, begin, self._previewer(request))
            for prompts, pixels, settings in jobs:
                work = image_from(self._parts, *prompts, noises, sampling.num_inference_steps, sampling.guidance_scale,
                                  pixels)  # fmt: skip
                for number, decoded in enumerate(self._run(request, work, see)):
                    shown = pictures(decoded, native or sampling.size is not None)[0]
                    made.append(Picture(shown, settings | {"image": number}))
        return Images(made, request.report(begin))
