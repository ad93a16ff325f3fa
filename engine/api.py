"""The public API: one loaded model, and its five tasks.

Every method may be called from several threads at once. Requests take turns, one run of a component at a time
(`runtime.scheduler`), and a result does not depend on what else runs.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import numpy as np

from .backends import together
from .config import ModelConfig
from .errors import InputError
from .pipelines.call import Pipeline, run, stream
from .pipelines.generate import Prompt, image_from
from .pipelines.parts import Parts
from .pipelines.understand import Decoding, Reply, understand
from .pipelines.vision import reconstruct
from .requests import MOST_TILES, Cancel, Sampling, Terms, one_each, share, whole
from .results import Answer, AnswerStream, Images, Picture, Segmentation
from .runtime.asynchronous import Asynchronous
from .runtime.line import Request
from .runtime.observed import Observed
from .runtime.plan import Plan, asking, reconstructing
from .runtime.planning import Planned
from .runtime.progress import Progress, watched
from .runtime.ranges import ranged
from .runtime.scheduler import Scheduler


class Engine(Asynchronous, Observed, Planned):
    """One loaded model, made by `spar_engine.load`. `close` it, or use it in a `with` block, to free its memory.

    Every task takes, beside its own options:

    cancel    a function that says True, or an Event that is set, to stop: inside a run of a component where the backend
              can (native), else before the next
    priority  -10 .. 10; requests of a higher one get more turns, and those of a lower one still get some
    deadline  seconds from now after which the request ends with DeadlineExceeded
    errors    Busy when too many requests run and wait already; OverBudget; Cancelled; DeadlineExceeded; BackendError
              once closed

    max_running  requests that take turns; each holds its own latents and key-value cache
    max_waiting  requests that may be in line for a start
    max_batch    requests whose sampler steps may be one run, where the backend can do it exactly (native)
    memory_budget  bytes that the model and its requests may hold, caches included; components are unloaded between
                 their uses to stay below. A request that cannot is refused with OverBudget
    nvtx         mark the runs of components as NVTX ranges, for Nsight Systems; needs the package nvtx
    """

    def __init__(
        self,
        config: ModelConfig,
        backend: Any,
        parts: Parts,
        prompts: Any,
        about: dict[str, Any],
        *,
        max_running: int = 8,
        max_waiting: int = 64,
        max_batch: int = 4,
        memory_budget: int | None = None,
        nvtx: bool = False,
    ):
        self.config = config
        self.backend = backend
        self.about = about  # source, backend, why that backend, precision, position table, ignored tensors
        self._parts = parts
        self._prompts = prompts
        max_batch = whole("max_batch", max_batch, 1, together.MOST)
        self._set_budget(memory_budget, max_batch)
        execute = backend.run if self._budget is None else self._budget.run
        self._scheduler = Scheduler(
            ranged(execute) if nvtx else execute,
            getattr(backend, "cancel_flag", None),
            getattr(backend, "together", None),
            max_running=whole("max_running", max_running, 1, 1024),
            max_waiting=whole("max_waiting", max_waiting, 0, 65536),
            max_batch=max_batch,
        )
        self._observe()
        weakref.finalize(self, self._scheduler.close, wait=False)

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] | None = None,
        seed: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 4.5,
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
        guidance_scale       any finite number; 1 runs the prompt alone, at half the cost
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
        sampling = Sampling(seed=seed, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
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
        self,
        image: Any,
        instruction: str,
        *,
        negative_prompt: str | None = None,
        seed: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 4.5,
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
        sampling = Sampling(seed=seed, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
                            num_images=num_images, latents=latents, size=size)  # fmt: skip
        self._refuse_unused(negative_prompt, sampling)
        job = self._editing("edit", self._open(image), instruction, negative_prompt, sampling)
        return self._draw("edit", [job], sampling, native, on_step, terms)

    def segment(
        self,
        image: Any,
        instruction: str | None = None,
        *,
        seed: int | None = 0,
        num_inference_steps: int = 20,
        guidance_scale: float = 4.5,
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
        from .image import regions
        from .text import SEGMENT_INSTRUCTION

        terms = Terms.of(priority, deadline, cancel)
        sampling = Sampling(seed=seed, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale,
                            latents=latents)  # fmt: skip
        min_region = share("min_region", min_region, zero=True)
        source = self._open(image)
        job = self._editing("segment", source, SEGMENT_INSTRUCTION if instruction is None else instruction, None,
                            sampling)  # fmt: skip
        drawn = self._draw("segment", [job], sampling, False, on_step, terms)
        found = regions(drawn.pictures[0].pixels, source.shape[:2], least=min_region)
        return Segmentation(drawn.pictures[0], found, drawn.timings)

    def reconstruct(
        self,
        image: Any,
        *,
        size: int | None = None,
        padded: bool = False,
        cancel: Cancel = None,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Images:
        """A picture through the image tokenizer and back: shorter side resized to `size`, middle square.

        size    side in pixels; None takes the model's own. Without padding a multiple of the patch pair (28)
        padded  mirror the picture up to the next multiple instead, and cut it off again (the 256-pixel protocol)
        """
        from .image.postprocess import reconstructed_pictures, reconstruction
        from .image.preprocess import reconstruct_pixels, reflect_pad

        terms = Terms.of(priority, deadline, cancel)
        vision = self.config.vision
        multiple = 2 * vision.patch_size
        size = vision.image_size if size is None else whole("size", size, multiple, 4 * vision.image_size)
        if size % multiple and not padded:
            below = size // multiple * multiple
            raise InputError(f"size={size} is not a multiple of {multiple}; "
                             f"use {below}, {below + multiple} or padded=True")  # fmt: skip
        pixels, padding = reconstruct_pixels(self._open(image), size), None
        if padded:
            pixels, padding = reflect_pad(pixels, multiple)
        begin = time.perf_counter()
        plan = self._checked(lambda: self._planned("reconstruct", reconstructing(self.config, pixels.shape[-1])))
        with self._scheduler.request("reconstruct", terms) as request, self._within(plan):
            decoded = self._run(request, reconstruct(self._parts, pixels))
            pixels = reconstructed_pictures(reconstruction(decoded, padding))[0]
        return Images([Picture(pixels, self._stamp("reconstruct"))], _report(request, begin))

    def ask(
        self,
        image: Any | None,
        question: str,
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        max_tiles: int = 1,
        history: Sequence[tuple[str, str]] = (),
        stream: bool = False,
        cancel: Cancel = None,
        priority: int = 0,
        deadline: float | None = None,
    ) -> Answer | AnswerStream:
        """Answer a question about a picture.

        image           as in `edit`; None asks without a picture
        max_new_tokens  longest answer
        temperature     0 is greedy; above it tokens are drawn with `top_p` and `seed`
        max_tiles       1 looks at the squashed picture; up to 12 cut it into tiles and add the whole as a thumbnail
        history         earlier (question, answer) pairs about the same picture
        stream          True returns an iterator over pieces of text instead of an `Answer`; the request starts with the
                        first piece that is read, and holds its place until the last one is, or it is closed
        """
        terms = Terms.of(priority, deadline, cancel)
        decoding = self._decoding(max_new_tokens, temperature, top_p, seed)
        work, streamed, plan = self._asking(image, question, decoding, max_tiles, history)
        if stream:
            return AnswerStream(self._pieces(work, streamed, plan, terms))
        begin = time.perf_counter()
        with self._scheduler.request("ask", terms) as request, self._within(plan):
            reply = self._run(request, work)
        return self._answer(reply, request, begin)

    def execute(self, component: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run one component (names and arrays of `spar_engine.components`), in turn with the requests."""
        with self._scheduler.request("execute", Terms.of(0, None, None)) as request:
            return self._scheduler.call(request, component, inputs)

    def close(self) -> None:
        """End what runs and waits, and free the model's memory. A request made afterwards is refused."""
        self._scheduler.close()
        self._parts.clear()
        self.backend.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside

    def _open(self, image: Any) -> np.ndarray:
        from .image import load_image

        return load_image(image)

    def _shared(self, kind: str) -> np.ndarray:
        """Leading ids that every prompt of one kind has (E9)."""
        from .text import templates

        return self._prompts.tokenizer.encode(templates.SHARED[kind])

    def _stamp(self, task: str, **more: Any) -> dict[str, Any]:
        known = {"task": task, "model": self.config.name, "backend": self.about["backend"],
                 "precision": self.about["precision"]}  # fmt: skip
        return known | {name: value for name, value in more.items() if value is not None}

    def _refuse_unused(self, negative_prompt: Any, sampling: Sampling) -> None:
        if negative_prompt is not None and not sampling.guided:
            raise InputError("negative_prompt has no effect at guidance_scale=1; leave it out or raise guidance_scale")

    def _editing(self, task: str, source: np.ndarray, instruction: str, negative: str | None, sampling: Sampling):
        from .image.preprocess import edit_pixels

        shared = self._shared("edit")
        positive = Prompt(ids=self._prompts.edit(instruction).ids, shared=shared)
        other = Prompt(ids=self._prompts.edit_unconditional(negative).ids, shared=shared) if sampling.guided else None
        pixels = edit_pixels(source, self.config.vision.image_size)
        settings = self._stamp(task, instruction=instruction, negative_prompt=negative) | sampling.settings(self.config)
        return (positive, other), pixels, settings

    def _draw(
        self,
        task: str,
        jobs: list[tuple[tuple[Prompt, Prompt | None], np.ndarray | None, dict[str, Any]]],
        sampling: Sampling,
        native: bool,
        on_step: Any,
        terms: Terms,
    ) -> Images:
        """Pictures of every job: the prompts of its branches, the pixels it edits, and what its pictures remember."""
        from .image.postprocess import pictures

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
        return Images(made, _report(request, begin))

    def _decoding(self, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> Decoding:
        from .samplers import check_seed

        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature < np.inf:
            raise InputError(f"temperature={temperature!r} is not a finite number of at least 0")
        if temperature == 0 and top_p != 1:
            raise InputError(f"top_p={top_p!r} has no effect at temperature=0; leave it out or raise temperature")
        return Decoding(max_new_tokens=whole("max_new_tokens", max_new_tokens, 1, self.config.language.max_positions),
                        temperature=float(temperature), top_p=share("top_p", top_p, zero=False),
                        seed=check_seed(seed))  # fmt: skip

    def _asking(self, image: Any, question: str, decoding: Decoding, max_tiles: int, history: Sequence):
        from .image.preprocess import chat_pixels

        max_tiles = whole("max_tiles", max_tiles, 1, MOST_TILES)
        pixels = None
        if image is not None:
            pixels = chat_pixels(self._open(image), self.config.vision.image_size, max_tiles)
        prompt = self._prompts.chat(question, [] if pixels is None else [len(pixels)], history,
                                    decoding.max_new_tokens)  # fmt: skip
        tokenizer = self._prompts.tokenizer
        stop = frozenset((tokenizer.special.turn_end, tokenizer.special.end_of_text))
        streamed = tokenizer.stream()
        work = understand(self._parts, prompt.ids, pixels, decoding, stop, streamed.push, prompt.cuts)
        runs = asking(self.config, len(prompt), decoding.max_new_tokens, pixels is not None)
        return work, streamed, self._checked(lambda: self._planned("ask", runs))

    def _run(self, request: Request, work: Pipeline[Any], on_event: Any = None) -> Any:
        offers = getattr(self.backend, "offers", ())
        return run(work, partial(self._scheduler.call, request), on_event, offers=offers)

    def _pieces(
        self, work: Pipeline[Reply], streamed: Any, plan: Plan | None, terms: Terms
    ) -> Generator[str, None, Answer]:
        begin = time.perf_counter()
        with self._scheduler.request("ask", terms) as request, self._within(plan):
            events = stream(work, partial(self._scheduler.call, request))
            while True:
                try:
                    event = next(events)
                except StopIteration as finished:
                    reply = finished.value
                    break
                if event.text:
                    yield event.text
            if rest := streamed.close():
                yield rest
        return self._answer(reply, request, begin)

    def _answer(self, reply: Reply, request: Request, begin: float) -> Answer:
        text = self._prompts.tokenizer.decode(reply.ids)
        return Answer(text, reply.ids, reply.prompt_tokens, reply.finished, _report(request, begin))


def _report(request: Request, begin: float) -> dict[str, Any]:
    return {"total": time.perf_counter() - begin, "waited": request.waited, "components": request.timings.as_dict()}
