"""The tasks for asyncio: each request runs in a thread of its own, and cancelling its task cancels it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ..results import Answer, Images, Segmentation

if TYPE_CHECKING:
    from .awaiting import AsyncAnswerStream


class Asynchronous:
    """Part of `Engine`: its tasks with the same arguments, results and errors, for asyncio.

    Callbacks such as `on_step` are called in the request's thread, not in the event loop's."""

    async def agenerate(self: Any, *arguments: Any, **options: Any) -> Images:
        """`generate`, awaited."""
        from .awaiting import awaited

        return await awaited(self, self.generate, arguments, options)

    async def aedit(self: Any, *arguments: Any, **options: Any) -> Images:
        """`edit`, awaited."""
        from .awaiting import awaited

        return await awaited(self, self.edit, arguments, options)

    async def asegment(self: Any, *arguments: Any, **options: Any) -> Segmentation:
        """`segment`, awaited."""
        from .awaiting import awaited

        return await awaited(self, self.segment, arguments, options)

    async def areconstruct(self: Any, *arguments: Any, **options: Any) -> Images:
        """`reconstruct`, awaited."""
        from .awaiting import awaited

        return await awaited(self, self.reconstruct, arguments, options)

    def aask(
        self: Any, *arguments: Any, stream: bool = False, **options: Any
    ) -> Coroutine[Any, Any, Answer] | AsyncAnswerStream:
        """`ask`: awaited, or with `stream=True` iterated over by `async for`, which starts it at once."""
        from .awaiting import AsyncAnswerStream, awaited

        if stream:
            return AsyncAnswerStream(self, arguments, options)
        return awaited(self, self.ask, arguments, options)
