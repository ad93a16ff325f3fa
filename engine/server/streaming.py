"""Pictures as server-sent events while they are drawn: previews, then the whole, in the form of OpenAI's events."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from fastapi import Request
from starlette.responses import StreamingResponse

from ..image.save import encode_image
from ..runtime.progress import Progress
from .attend import attended
from .faults import body_of

Drawing = Callable[[Callable[[Progress], None]], Coroutine[Any, Any, dict[str, Any]]]
"""Makes the work from its `on_step`; the result is the last event but for its type."""


async def streamed(request: Request, kind: str, partial_images: int, draw: Drawing) -> StreamingResponse:
    """Events `KIND.partial_image` at `partial_images` steps, evenly spread, then `KIND.completed`.

    A preview is a small PNG (`Progress.preview`); beside OpenAI's fields it tells `step`, `steps` and `seconds`. What
    fails before the first event has a status of its own; later an event `error` says so. The request's body must have
    been read; when the client leaves, the work ends."""
    events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    shown = 0

    def on_step(step: Progress) -> None:
        nonlocal shown
        if shown < partial_images and (step.index + 1) * partial_images >= (shown + 1) * step.total:
            image = base64.b64encode(encode_image(step.preview().pixels, "PNG", {})).decode()
            event = {"type": f"{kind}.partial_image", "partial_image_index": shown, "b64_json": image, "step":
                     step.index + 1, "steps": step.total, "seconds": step.seconds} | _about("png")  # fmt: skip
            loop.call_soon_threadsafe(events.put_nowait, event)
            shown += 1

    task = asyncio.ensure_future(draw(on_step))
    task.add_done_callback(lambda _: events.put_nowait(None))
    try:
        first = await attended(request, events.get())
        if first is None:
            task.result()  # raises what failed before anything was shown
    except BaseException:
        task.cancel()
        raise
    return StreamingResponse(_lines(kind, task, first, events), media_type="text/event-stream",
                             headers={"Cache-Control": "no-store"})  # fmt: skip


async def _lines(
    kind: str, task: asyncio.Task[dict[str, Any]], event: dict[str, Any] | None, events: asyncio.Queue
) -> AsyncIterator[str]:
    try:
        while event is not None:
            yield _line(event["type"], event)
            event = await events.get()
        try:
            done = await task
        except Exception as error:
            yield _line("error", {"type": "error"} | body_of(error))
            return
        yield _line(f"{kind}.completed", {"type": f"{kind}.completed"} | _about(done["output_format"]) | done)
    finally:
        task.cancel()


def _about(output_format: str) -> dict[str, Any]:
    """Fields that OpenAI's events have."""
    return {"created_at": int(time.time()), "output_format": output_format, "background": "opaque", "quality": "auto",
            "size": "auto"}  # fmt: skip


def _line(name: str, event: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(event)}\n\n"
