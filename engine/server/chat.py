"""/v1/chat/completions: questions about at most one picture, whole or as server-sent events."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response, StreamingResponse

from ..errors import InputError
from ..results import Answer
from ..runtime.awaiting import AsyncAnswerStream
from ..text.templates import PLACEHOLDER
from .attend import attended
from .faults import body_of
from .pictures import from_data_url
from .service import Service, service

routes = APIRouter()


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class ImageUrl(Strict):
    url: str
    detail: Literal["auto"] = "auto"


class Piece(Strict):
    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None


class Message(Strict):
    role: Literal["user", "assistant"]
    content: str | list[Piece]


class StreamOptions(Strict):
    include_usage: bool = False


class Chat(Strict):
    """A request. Fields that are not named here are refused; `Engine.ask` says what each option does."""

    model: str | None = None
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    n: Literal[1] = 1
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tiles: int = 1


@routes.post("/v1/chat/completions", response_model=None)
async def completions(request: Request, body: Chat) -> dict[str, Any] | Response:
    held = service(request, body.model)
    arguments, options = await _question(body, held)
    head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": held.name}
    if not body.stream:
        answer = await attended(request, held.engine.aask(*arguments, **options))
        message = {"role": "assistant", "content": answer.text}
        choice = {"index": 0, "message": message, "finish_reason": _reason(answer), "logprobs": None}
        return head | {"object": "chat.completion", "choices": [choice], "usage": _usage(answer)}
    pieces = held.engine.aask(*arguments, stream=True, **options)
    first = await attended(request, _first(pieces))  # errors before the first piece have a status of their own
    events = _events(pieces, first, head, body.stream_options is not None and body.stream_options.include_usage)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _question(body: Chat, held: Service) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `ask`."""
    roles = [message.role for message in body.messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise InputError("messages: they must go user, assistant, user ... and end with user")
    image, texts = None, []
    for number, message in enumerate(body.messages):
        text, url = _read(message)
        if url is not None:
            if message.role != "user" or image is not None:
                raise InputError("messages: there may be one picture, in a message of the user")
            image = await from_data_url(url, held.settings)
            text = text if number == 0 else f"{PLACEHOLDER}\n{text}"  # one of the first message is put there anyway
        texts.append(text)
    asked = {body.max_tokens, body.max_completion_tokens} - {None}
    if len(asked) > 1:
        raise InputError("max_tokens and max_completion_tokens differ; send one")
    longest = asked.pop() if asked else min(256, held.settings.max_new_tokens)
    held.limit("max_tokens", longest, held.settings.max_new_tokens)
    if body.stream_options is not None and not body.stream:
        raise InputError("stream_options has no effect without stream=true; leave it out")
    options = {"max_new_tokens": longest, "temperature": body.temperature, "top_p": body.top_p, "seed": body.seed,
               "max_tiles": body.max_tiles, "history": list(zip(texts[:-1:2], texts[1::2], strict=True))}  # fmt: skip
    return (image, texts[-1]), options | held.terms()


def _read(message: Message) -> tuple[str, str | None]:
    """Text of a message, and the URL of its picture."""
    if isinstance(message.content, str):
        return message.content, None
    texts, urls = [], []
    for piece in message.content:
        given = piece.text if piece.type == "text" else piece.image_url
        if given is None or (piece.text is not None and piece.image_url is not None):
            raise InputError(f"messages: a part of type {piece.type} must hold `{piece.type}` and nothing else")
        (texts if piece.type == "text" else urls).append(given)
    if len(urls) > 1:
        raise InputError("messages: there may be one picture, in a message of the user")
    return "\n".join(texts), urls[0].url if urls else None


async def _first(pieces: AsyncAnswerStream) -> str | None:
    return await anext(pieces, None)


async def _events(
    pieces: AsyncAnswerStream, first: str | None, head: dict[str, Any], usage: bool
) -> AsyncIterator[str]:
    """Server-sent events; when the client leaves, this is closed, and the request with it."""

    def chunk(delta: dict[str, str], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return _event(head | {"object": "chat.completion.chunk", "choices": [choice]})

    try:
        yield chunk({"role": "assistant", "content": first or ""})
        try:
            async for piece in pieces:
                yield chunk({"content": piece})
        except Exception as error:
            yield _event(body_of(error))
            return
        yield chunk({}, _reason(pieces.answer))
        if usage:
            yield _event(head | {"object": "chat.completion.chunk", "choices": [], "usage": _usage(pieces.answer)})
        yield "data: [DONE]\n\n"
    finally:
        await pieces.aclose()


def _event(found: dict[str, Any]) -> str:
    return f"data: {json.dumps(found, ensure_ascii=False)}\n\n"


def _reason(answer: Answer) -> str:
    return "stop" if answer.finished else "length"


def _usage(answer: Answer) -> dict[str, int]:
    written = len(answer.token_ids)
    return {"prompt_tokens": answer.prompt_tokens, "completion_tokens": written,
            "total_tokens": answer.prompt_tokens + written}  # fmt: skip
