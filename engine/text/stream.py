"""Ids to text while they arrive."""

from __future__ import annotations

import codecs
from collections.abc import Container, Mapping

NO_TOKEN = "\N{REPLACEMENT CHARACTER}".encode()


class TextStream:
    """Give ids to `push`, get back the characters that are complete; `close` returns what is left.

    The pieces put together are exactly the decoded whole. Bytes that can no longer become UTF-8 are U+FFFD."""

    def __init__(self, tokens: Mapping[int, bytes], silent: Container[int]):
        self._tokens = tokens
        self._silent = silent
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Text that `token` completes, often the token's own.

        An embedding may have more rows than the tokenizer has tokens; an id without a token reads as U+FFFD."""
        if token in self._silent:
            return ""
        return self._utf8.decode(self._tokens.get(int(token), NO_TOKEN))

    def close(self) -> str:
        """U+FFFD where the last character was cut, else nothing."""
        return self._utf8.decode(b"", final=True)
