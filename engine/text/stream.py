"""Ids to text while they arrive."""

from __future__ import annotations

import codecs
from collections.abc import Callable


class TextStream:
    """Give ids to `push`, get back the characters that are complete; `close` returns what is left.

    The pieces put together are exactly the decoded whole. Bytes that can no longer become UTF-8 are U+FFFD."""

    def __init__(self, piece: Callable[[int], bytes]):
        """piece(id): the bytes of a token, none for a silent one."""
        self._piece = piece
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Text that `token` completes, often the token's own."""
        return self._utf8.decode(self._piece(token))

    def close(self) -> str:
        """U+FFFD where the last character was cut, else nothing."""
        return self._utf8.decode(b"", final=True)
