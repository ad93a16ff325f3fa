"""The tokenizer of a checkpoint: text to ids, ids to text, and the ids of its special tokens."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CheckpointError, InputError
from .bytelevel import check_bytelevel, written
from .library import failures, tokenizers
from .special import GROUNDING, IMAGE_CONTEXT, NAMES, PLACEHOLDER, SpecialIds
from .stream import TextStream

if TYPE_CHECKING:
    from tokenizers import Tokenizer


NO_TOKEN = "\N{REPLACEMENT CHARACTER}".encode()
MOST_CHARACTERS = 16  # for each token of the model's limit


class TextTokenizer:
    """A byte-level BPE tokenizer with the family's special tokens. Safe to use from several threads.

    special    ids of the special tokens
    forbidden  special tokens that user text may not hold, longest first
    rows       rows of the embedding; every id it gives is below
    source     its file, for messages
    """

    def __init__(self, tokenizer: Tokenizer, rows: int, source: str = "tokenizer"):
        self._tokenizer = tokenizer
        self.rows = rows
        self.source = source
        added = tokenizer.get_added_tokens_decoder()
        ids = {token.content: number for number, token in added.items()}
        for name in NAMES:
            if name not in ids:
                raise CheckpointError(f"{source}: no special token {name}; this is not the tokenizer of this family")
            if ids[name] >= rows:
                raise CheckpointError(f"{source}: {name} has id {ids[name]}, but the embedding has only {rows} rows")
        fields = SpecialIds.__dataclass_fields__
        self.special = SpecialIds(**{field: ids[name] for field, name in zip(fields, NAMES, strict=True)})
        self.forbidden = tuple(sorted((ids.keys() | {PLACEHOLDER}) - GROUNDING, key=len, reverse=True))
        check_bytelevel(tokenizer, source)
        # Filled with the ids that are decoded; a vocabulary has more than anyone reads.
        self._pieces = {number: b"" if token.special else token.content.encode() for number, token in added.items()}

    @classmethod
    def open(cls, directory: str | Path, rows: int, image_token_id: int) -> TextTokenizer:
        """Read tokenizer.json of a checkpoint, or vocab.json, merges.txt and added_tokens.json where it has none.

        rows            rows of the language model's embedding
        image_token_id  the configuration's id of <IMG_CONTEXT>; another one in the tokenizer is a CheckpointError
        """
        from .qwen2 import read_slow

        directory, library = Path(directory), tokenizers()
        source = directory / "tokenizer.json"
        if source.is_file():
            with failures(f"{source}: not a tokenizer"):
                inner = library.Tokenizer.from_file(str(source))
        else:
            inner = read_slow(directory, library)
        inner.no_padding()
        inner.no_truncation()
        made = cls(inner, rows, str(source))
        if made.special.image_context != image_token_id:
            raise CheckpointError(
                f"{source}: {IMAGE_CONTEXT} has id {made.special.image_context}, "
                f"but the configuration says image_token_id={image_token_id}"
            )
        return made

    def encode(self, text: str, most: int | None = None) -> np.ndarray:
        """Ids of `text`, [tokens] int64; special tokens in it count as such. InputError beyond `most` tokens."""
        # Tokenizing megabytes takes minutes. Prose has about 4 characters a token.
        if most is not None and len(text) > MOST_CHARACTERS * most:
            raise InputError(
                f"text of {len(text)} characters is over the limit of {MOST_CHARACTERS * most}, "
                f"{MOST_CHARACTERS} for each of {most} tokens; shorten it"
            )
        with failures(f"{self.source}: it failed on a text"):
            ids = np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
        if ids.size and ids.max() >= self.rows:
            token = self._tokenizer.id_to_token(int(ids.max()))
            raise InputError(f"text holds {token}, which has no row in the model's embedding of {self.rows}; remove it")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, without special tokens; bytes that are not UTF-8 and unknown ids become U+FFFD."""
        stream = self.stream()
        return "".join([*map(stream.push, ids), stream.close()])

    def stream(self) -> TextStream:
        """A decoder that is fed one id at a time and gives out whole characters only."""
        return TextStream(self._piece)

    def _piece(self, token: int) -> bytes:
        """The bytes of a token, none for a special one.

        An embedding may have more rows than the tokenizer has tokens; an id without a token reads as U+FFFD."""
        token = int(token)
        if token not in self._pieces:
            text = self._tokenizer.id_to_token(token)
            self._pieces[token] = NO_TOKEN if text is None else written(text)
        return self._pieces[token]
