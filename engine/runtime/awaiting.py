"""What the tasks for asyncio are made of: a request in a thread of its own, and its result or pieces in the event loop.

Apart from their names (`asynchronous`), so that only who uses them imports asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from ..errors import Busy
from ..requests import Cancel, Terms
from ..results import Answer


class AsyncAnswerStream:
    """Pieces of an answer as they become readable; `aclose` it, or let it go, to stop the request."""

    def __init__(self, engine: Any, arguments: tuple[Any, ...], options: dict[str, Any]):
        self.answer: Answer | None = None  # the whole, once the last piece was read
        self._stop = threading.Event()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._over = False
        loop, post, ask = asyncio.get_running_loop(), self._queue.put_nowait, engine.ask
        options = options | {"cancel": _either(options.get("cancel"), self._stop)}

        def work() -> None:
            try:
                pieces = ask(*arguments, stream=True, **options)
                for piece in pieces:
                    _tell(loop, post, piece)
                found = pieces.answer
            except BaseException as error:
                found = error
            _tell(loop, post, found)

        _thread(engine, work)

    def __aiter__(self) -> AsyncAnswerStream:
        return self

    async def __anext__(self) -> str:
        if self._over:
            raise StopAsyncIteration
        try:
            found = await self._queue.get()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if isinstance(found, str):
            return found
        self._over = True
        if isinstance(found, BaseException):
            raise found
        self.answer = found
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop the request, if it still runs."""
        self._over = True
        self._stop.set()

    def __del__(self):
        self._stop.set()


async def awaited(engine: Any, task: Callable[..., Any], arguments: tuple, options: dict[str, Any]) -> Any:
    """The result of a task of the engine; the request is cancelled when this is."""
    stop, loop = threading.Event(), asyncio.get_running_loop()
    options = options | {"cancel": _either(options.get("cancel"), stop)}
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result = failed = None
        try:
            result = task(*arguments, **options)
        except BaseException as error:
            failed = error
        _tell(loop, settle, result, failed)

    _thread(engine, work)
    try:
        return await future
    finally:
        stop.set()


def _thread(engine: Any, work: Callable[[], None]) -> None:
    """Run `work` in a thread; Busy when there are as many as the engine can admit requests."""
    places = engine._scheduler.threads
    if not places.acquire(blocking=False):
        raise Busy("busy: as many asynchronous requests run and wait as the engine admits; try again later")

    def run() -> None:
        try:
            work()
        finally:
            places.release()

    threading.Thread(target=run, name="spar-request", daemon=True).start()


def _tell(loop: asyncio.AbstractEventLoop, post: Callable[..., None], *what: Any) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(post, *what)


def _either(cancel: Cancel, stop: threading.Event) -> Callable[[], bool]:
    asked = Terms.of(0, None, cancel).cancelled
    return stop.is_set if asked is None else lambda: stop.is_set() or asked()
