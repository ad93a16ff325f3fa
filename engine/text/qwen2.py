"""Build the fast Qwen2 tokenizer from the files of the slow one, and a byte-only tokenizer for models without text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.jsonfile import load_json, shown
from ..errors import CheckpointError, ConfigError
from .bytelevel import alphabet
from .library import failures, tokenizers
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


def _table(path: Path) -> dict[str, Any]:
    try:
        return load_json(path)
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _ids(path: Path) -> dict[str, int]:
    table = _table(path)
    if not all(type(number) is int and number >= 0 for number in table.values()):
        raise CheckpointError(f"{path}: not a table of tokens and ids")
    return table


def _special_names(path: Path) -> set[str]:
    """Tokens that special_tokens_map.json calls special; null is none."""
    names = set()
    for value in filter(lambda value: value is not None, _table(path).values()):
        for entry in value if isinstance(value, list) else [value]:
            name = entry.get("content") if isinstance(entry, dict) else entry
            if not isinstance(name, str):
                raise CheckpointError(f"{path}: {shown(entry)} is neither a token nor an object with its content")
            names.add(name)
    return names


def _merges(path: Path) -> list[tuple[str, str]]:
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as text: {error}") from None
    pairs = [tuple(line.rstrip("\r").split(" ")) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise CheckpointError(f"{path}: a line is not two tokens and a blank")
    return pairs


def read_slow(directory: Path, library: Any) -> Tokenizer:
    """The tokenizer of vocab.json, merges.txt and added_tokens.json; a missing or damaged one is a CheckpointError."""
    missing = [name for name in ("vocab.json", "merges.txt", "added_tokens.json") if not (directory / name).is_file()]
    if missing:
        raise CheckpointError(f"{directory}: no tokenizer.json, and without it {', '.join(missing)} must be there too")
    vocabulary, added = _ids(directory / "vocab.json"), _ids(directory / "added_tokens.json")
    merges, listed = _merges(directory / "merges.txt"), directory / "special_tokens_map.json"
    special = _special_names(listed) if listed.is_file() else added.keys()
    with failures(f"{directory}: vocab.json and merges.txt do not fit"):
        made = _assemble(library, vocabulary, merges)
    source = directory / "added_tokens.json"
    for token, number in sorted(added.items(), key=lambda item: item[1]):
        with failures(f"{source}: not a token: {shown(token)}"):
            made.add_tokens([library.AddedToken(token, special=token in special, normalized=False)])
        if made.token_to_id(token) != number:
            raise CheckpointError(f"{source}: ids do not follow the vocabulary at {shown(token)}")
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
