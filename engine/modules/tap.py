"""Named looks inside a module: `tap` returns its tensor unchanged and, inside `taps`, also keeps it by name.

    with taps() as seen:
        dit(latent, ...)
    seen["block_0.attn1"]

Names are those of the golden vectors. Outside `taps` a tap costs one lookup and leaves nothing in a traced graph;
inside, the traced tensors are kept, so that a wrapper can return them as outputs. Each thread records for itself; code
under `torch.compile` records nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import torch
from torch.compiler import is_dynamo_compiling

_seen: ContextVar[dict[str, torch.Tensor] | None] = ContextVar("seen", default=None)
_prefix: ContextVar[str] = ContextVar("prefix", default="")
_NOWHERE = contextlib.nullcontext()


def recording() -> bool:
    """Whether a tap keeps anything now; for inner values that would only be computed to be seen."""
    return not is_dynamo_compiling() and _seen.get() is not None


def tap(name: str, x: torch.Tensor) -> torch.Tensor:
    """`x` itself; while recording it is also kept under the name of the enclosing scopes, a dot each, and `name`."""
    if recording():
        _seen.get()[_prefix.get() + name] = x
    return x


@contextlib.contextmanager
def taps() -> Iterator[dict[str, torch.Tensor]]:
    """Record every tap of this thread, by name, into the mapping that this yields. A nested one hides the outer."""
    seen: dict[str, torch.Tensor] = {}
    seen_token, prefix_token = _seen.set(seen), _prefix.set("")
    try:
        yield seen
    finally:
        _prefix.reset(prefix_token)
        _seen.reset(seen_token)


def scope(name: str) -> contextlib.AbstractContextManager[None]:
    """Put `name` and a dot before the names of the taps inside."""
    return _nested(name) if recording() else _NOWHERE


@contextlib.contextmanager
def _nested(name: str) -> Iterator[None]:
    token = _prefix.set(f"{_prefix.get()}{name}.")
    try:
        yield
    finally:
        _prefix.reset(token)
