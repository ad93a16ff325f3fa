"""GPT-2's byte-level alphabet: every byte is written as one printable character."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ..errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@cache
def alphabet() -> dict[int, str]:
    """Byte to character: printable Latin-1 stands for itself, the other bytes count up from U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + place) for place, byte in enumerate(others)}


@cache
def _bytes() -> dict[str, int]:
    return {character: byte for byte, character in alphabet().items()}


def written(token: str) -> bytes:
    """The bytes that a token of the vocabulary stands for; one with foreign characters stands for itself."""
    try:
        return bytes(_bytes()[character] for character in token)
    except KeyError:
        return token.encode()


def check_bytelevel(tokenizer: Tokenizer, source: str) -> None:
    """CheckpointError where the tokenizer's ids are not pieces of bytes, or where a text has more than one reading."""
    decoder, model = type(tokenizer.decoder).__name__, tokenizer.model
    if decoder != "ByteLevel":
        raise CheckpointError(f"{source}: its decoder is {decoder}; only ByteLevel is supported")
    if type(model).__name__ != "BPE":
        raise CheckpointError(f"{source}: its model is {type(model).__name__}; only BPE is supported")
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if getattr(model, name):
            raise CheckpointError(f"{source}: its model has {name}={getattr(model, name)!r}; only none is supported")
    missing = [byte for byte, character in alphabet().items() if model.token_to_id(character) is None]
    if missing:
        raise CheckpointError(f"{source}: no token for byte {missing[0]:#04x} ({len(missing)} of 256 missing)")
