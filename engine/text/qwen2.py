"""Build the fast Qwen2 tokenizer from the files of the slow one, and a byte-only tokenizer for models without text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from .bytelevel import alphabet
from .library import tokenizers
from .special import NAMES

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Qwen2's own split: contractions, words, single digits, punctuation, line ends, blanks.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _assemble(library: Any, vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    split, byte_level = library.pre_tokenizers.Split, library.pre_tokenizers.ByteLevel
    made = library.Tokenizer(
        library.models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="")
    )
    made.normalizer = library.normalizers.NFC()
    made.pre_tokenizer = library.pre_tokenizers.Sequence(
        [
            split(library.Regex(SPLIT), "isolated"),
            byte_level(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = library.processors.ByteLevel(trim_offsets=False)
    made.decoder = library.decoders.ByteLevel()
    return made


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {str(error).splitlines()[0]}") from None


def _special_names(directory: Path) -> set[str] | None:
    """Tokens that special_tokens_map.json calls special; None where there is no such file."""
    path = directory / "special_tokens_map.json"
    if not path.is_file():
        return None
    entries: list[Any] = []
    for value in _read_json(path).values():
        entries += value if isinstance(value, list) else [value]
    return {entry["content"] if isinstance(entry, dict) else entry for entry in entries}


def read_slow(directory: Path, library: Any) -> Tokenizer:
    """The tokenizer of vocab.json, merges.txt and added_tokens.json; a missing or damaged one is a CheckpointError."""
    missing = [name for name in ("vocab.json", "merges.txt", "added_tokens.json") if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(f"{directory}: no tokenizer.json, and without it {', '.join(missing)} must be there too")
    vocabulary, added = _read_json(directory / "vocab.json"), _read_json(directory / "added_tokens.json")
    for path, table in (("vocab.json", vocabulary), ("added_tokens.json", added)):
        if not isinstance(table, dict) or not all(isinstance(number, int) for number in table.values()):
            raise CheckpointError(f"{directory / path}: not a table of tokens and ids")
    try:
        lines = (directory / "merges.txt").read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{directory / 'merges.txt'}: cannot be read as text: {error}") from None
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise CheckpointError(f"{directory / 'merges.txt'}: a line is not two tokens and a blank")
    try:
        made = _assemble(library, vocabulary, pairs)
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(
            f"{directory}: vocab.json and merges.txt do not fit: {str(error).splitlines()[0]}"
        ) from None
    special = _special_names(directory)
    for token, number in sorted(added.items(), key=lambda item: item[1]):
        made.add_tokens([library.AddedToken(token, special=special is None or token in special, normalized=False)])
        if made.token_to_id(token) != number:
            raise CheckpointError(f"{directory / 'added_tokens.json'}: ids do not follow the vocabulary at {token}")
    return made


def byte_tokenizer(path: str | Path) -> dict[str, int]:
    """Write a tokenizer.json of the 256 bytes and the special tokens; any text works, one token a byte.

    path     file to write
    returns  the special tokens' ids: 256 .. 261, in the order of `special.NAMES`; 262 rows of embedding are needed
    """
    library = tokenizers()
    made = _assemble(library, {character: byte for byte, character in alphabet().items()}, [])
    made.add_tokens([library.AddedToken(name, special=True, normalized=False) for name in NAMES])
    made.save(str(path))
    return {name: made.token_to_id(name) for name in NAMES}
