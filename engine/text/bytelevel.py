"""GPT-2's byte-level alphabet: every byte is written as one printable character."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer


@cache
def alphabet() -> dict[int, str]:
    """Byte to character: printable Latin-1 stands for itself, the other bytes count up from U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


def token_bytes(tokenizer: Tokenizer, added: dict[int, AddedToken]) -> dict[int, bytes]:
    """Id to the bytes it stands for; CheckpointError where the tokenizer is not byte-level."""
    decoder = type(tokenizer.decoder).__name__
    if decoder != "ByteLevel":
        raise CheckpointError(f"tokenizer: its decoder is {decoder}; only ByteLevel is supported")
    back = {ord(character): byte for byte, character in alphabet().items()}
    made = {number: token.content.encode() for number, token in added.items()}
    for token, number in tokenizer.get_vocab(with_added_tokens=False).items():
        if number not in made:
            try:
                made[number] = bytes(back[ord(character)] for character in token)
            except KeyError:
                made[number] = token.encode()
    return made
