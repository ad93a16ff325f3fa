"""What a user wrote, as the ids that the model reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from . import templates
from .special import PLACEHOLDER, check_text
from .tokenizer import TextTokenizer

if TYPE_CHECKING:
    from ..config import ModelConfig

TRAINED_TOKENS = 767  # longest prompt of the training runs, without the queries (spec 5.1)


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """One prompt, unpadded.

    text        the whole string, template and image tokens included
    ids         [tokens] int64
    image_rows  [image tokens] int64, rows whose embedding the visual tokens replace, in order
    cuts        of a chat: lengths of the leading parts that a later question may have too, rising
    """

    text: str
    ids: np.ndarray
    image_rows: np.ndarray
    cuts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def note(self) -> str | None:
        """A remark for the user on a prompt that is longer than any the model was trained on."""
        if len(self) <= TRAINED_TOKENS:
            return None
        return f"the prompt has {len(self)} tokens; training stopped at {TRAINED_TOKENS}, expect a weaker result"


class Prompts:
    """Checks user text, fills the templates and tokenizes, for one model."""

    def __init__(self, tokenizer: TextTokenizer, config: ModelConfig):
        self.tokenizer = tokenizer
        self._most = config.language.max_positions
        self._queries = config.query_count
        self._image_tokens = config.image_tokens

    def generation(self, prompt: str) -> Prompt:
        """Prompt of text to image; InputError when empty, too long or with special tokens."""
        return self._drawing("prompt", templates.generation(self._check("prompt", prompt)))

    def unconditional(self, negative: str | None = None) -> Prompt:
        """The other guidance branch of text to image; a negative prompt takes the prompt's place in it."""
        if negative is not None:
            self._check("negative_prompt", negative)
        return self._drawing("negative_prompt", templates.generation(negative))

    def edit(self, instruction: str, image_tokens: int | None = None) -> Prompt:
        """Prompt of editing; image_tokens: visual tokens of the picture, default the training size's."""
        filled = templates.edit(self._check("instruction", instruction))
        return self._drawing("instruction", filled, image_tokens or self._image_tokens)

    def edit_unconditional(self, negative: str | None = None, image_tokens: int | None = None) -> Prompt:
        """The other guidance branch of editing; it sees the picture too."""
        if negative is not None:
            self._check("negative_prompt", negative)
        return self._drawing("negative_prompt", templates.edit(negative), image_tokens or self._image_tokens)

    def chat(
        self,
        question: str,
        tiles: Sequence[int] = (),
        history: Sequence[tuple[str, str]] = (),
        max_new_tokens: int = 0,
        tile_tokens: int | None = None,
    ) -> Prompt:
        """Prompt of understanding.

        question        may hold one `<image>` for each picture; a single picture needs none
        tiles           tiles of each picture, in order; none for a question without a picture
        history         earlier (question, answer) pairs; the pictures' places may be in their questions
        max_new_tokens  room to leave for the answer
        tile_tokens     visual tokens of one tile, default the training size's
        """
        for asked, answer in history:
            self._check("question in history", asked, may_hold_placeholder=True)
            self._check("answer in history", answer)
        self._check("question", question, may_hold_placeholder=True)
        filled = templates.chat(history, question, len(tiles))
        places = filled.count(PLACEHOLDER)
        if places != len(tiles):
            raise InputError(
                f"question has {places} {PLACEHOLDER} for {len(tiles)} pictures; write one where each picture belongs"
            )
        counts = [count * (tile_tokens or self._image_tokens) for count in tiles]
        prompt = self._build("question", filled, counts, max_new_tokens, "max_new_tokens")
        return dataclasses.replace(prompt, cuts=self._cuts(prompt.ids))

    def _cuts(self, ids: np.ndarray) -> tuple[int, ...]:
        """Before every turn of the user, and after every picture. Text is tokenized apart from the special tokens
        there, so that the ids before a cut do not depend on what follows."""
        turns = np.flatnonzero(ids == self.tokenizer.special.turn_start)[1::2]  # after the system, in pairs
        pictures = np.flatnonzero(ids == self.tokenizer.special.image_end) + 1
        return tuple(int(cut) for cut in np.union1d(turns, pictures))

    def _check(self, what: str, text: str, *, may_hold_placeholder: bool = False) -> str:
        return check_text(what, text, self.tokenizer.forbidden, may_hold_placeholder=may_hold_placeholder)

    def _drawing(self, what: str, filled: str, *counts: int) -> Prompt:
        return self._build(what, filled, counts, self._queries, "latent queries")

    def _build(self, what: str, filled: str, counts: Sequence[int], reserve: int, reserve_name: str) -> Prompt:
        text = templates.expand(filled, counts)
        ids = self.tokenizer.encode(text, self._most)
        if len(ids) + reserve > self._most:
            raise InputError(
                f"{what} is too long: {len(ids)} tokens with its template and pictures, and {reserve} {reserve_name}, "
                f"exceed the model's {self._most} positions; shorten it"
            )
        image_rows = np.flatnonzero(ids == self.tokenizer.special.image_context)
        return Prompt(text, ids, image_rows)
