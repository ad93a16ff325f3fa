"""Answers: text about a picture, whole or piece by piece."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..pipelines.call import Pipeline, run, stream
from ..pipelines.understand import Decoding, Reply, understand
from ..requests import MOST_TILES, Cancel, Terms, share, whole
from ..results import Answer, AnswerStream
from .line import Request
from .plan import Plan, asking


class Asking:
    """Part of `Engine`: `ask`."""

    def ask(
        self: Any,
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
            if decoding.temperature == 0:
                reply = self._run(request, work)
            else:  # drawing from a large vocabulary takes milliseconds, which belong to this thread
                reply = run(work, partial(self._scheduler.call, request))
        return self._answer(reply, request, begin)

    def _decoding(self: Any, max_new_tokens: int, temperature: float, top_p: float, seed: int) -> Decoding:
        from ..samplers import check_seed

        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature < np.inf:
            raise InputError(f"temperature={temperature!r} is not a finite number of at least 0")
        if temperature == 0 and top_p != 1:
            raise InputError(f"top_p={top_p!r} has no effect at temperature=0; leave it out or raise temperature")
        return Decoding(max_new_tokens=whole("max_new_tokens", max_new_tokens, 1, self.config.language.max_positions),
                        temperature=float(temperature), top_p=share("top_p", top_p, zero=False),
                        seed=check_seed(seed))  # fmt: skip

    def _asking(self: Any, image: Any, question: str, decoding: Decoding, max_tiles: int, history: Sequence):
        from ..image.preprocess import chat_pixels

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

    def _pieces(
        self: Any, work: Pipeline[Reply], streamed: Any, plan: Plan | None, terms: Terms
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

    def _answer(self: Any, reply: Reply, request: Request, begin: float) -> Answer:
        text = self._prompts.tokenizer.decode(reply.ids)
        return Answer(text, reply.ids, reply.prompt_tokens, reply.finished, request.report(begin))
