"""Prompts of the engine's templates as padded token ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from spar_engine.text import templates

from .tokenizer import token_ids


@dataclass(slots=True)
class Packed:
    """Several questions and answers about one picture as one sequence. What a branch sees, and where it stands,
    are those of a chat that holds this one question."""

    ids: torch.Tensor  # [batch, tokens]
    positions: torch.Tensor  # [batch, tokens]
    branch: torch.Tensor  # [batch, tokens]; 0 the shared prefix, 1.. the branches, -1 padding
    targets: torch.Tensor  # [batch, tokens]; the next token where it belongs to an answer, else -100


class Texts:
    """Tokenizes for training with the words and templates that the engine uses."""

    def __init__(self, path: Path, image_tokens: int):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))
        self.special = token_ids(path)
        self.pad, self.image = self.special["<|endoftext|>"], self.special["<IMG_CONTEXT>"]
        self.image_tokens = image_tokens

    @property
    def vocabulary(self) -> int:
        return self.tokenizer.get_vocab_size()

    def ids(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self.tokenizer.encode_batch(texts, add_special_tokens=False)]

    def padded(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, mask) [batch, longest], padded on the right."""
        rows = self.ids(texts)
        ids = np.full((len(rows), max(map(len, rows))), self.pad, np.int64)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        mask = np.arange(ids.shape[1]) < np.array([[len(r)] for r in rows])
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))

    def generation(self, prompts: list[str | None]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.padded([templates.generation(p) for p in prompts])

    def edits(self, instructions: list[str | None]) -> tuple[torch.Tensor, torch.Tensor]:
        return self.padded([templates.expand(templates.edit(i), [self.image_tokens]) for i in instructions])

    def packed(self, chats: list[list[tuple[str, str]]]) -> Packed:
        """Each item of `chats`: the questions and answers about one picture."""
        question = "\0"
        prefix, tail = templates.expand(templates.chat([], question, 1), [self.image_tokens]).split(question)
        (prefix_ids,) = self.ids([prefix])
        asked = self.ids([q + tail for chat in chats for q, _ in chat])
        answered = self.ids([a + "<|im_end|>" for chat in chats for _, a in chat])
        rows, at = [], 0
        for chat in chats:
            row = [(t, p, 0, -100) for p, t in enumerate(prefix_ids)]
            for number in range(len(chat)):
                ids = asked[at] + answered[at]
                after = [-100] * (len(asked[at]) - 1) + answered[at] + [-100]
                row += [
                    (t, len(prefix_ids) + p, number + 1, n) for p, (t, n) in enumerate(zip(ids, after, strict=True))
                ]
                at += 1
            rows.append(row)
        table = np.tile(np.array([self.pad, 0, -1, -100]), (len(rows), max(map(len, rows)), 1))
        for i, row in enumerate(rows):
            table[i, : len(row)] = row
        return Packed(*(torch.from_numpy(np.ascontiguousarray(table[..., k])) for k in range(4)))


def packed_mask(branch: torch.Tensor) -> torch.Tensor:
    """[batch, 1, tokens, tokens] bool: causal, and a branch sees the prefix and itself."""
    same = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    causal = torch.ones(branch.shape[1], branch.shape[1], dtype=torch.bool).tril()
    return (same & causal & (branch[:, None, :] >= 0) | torch.eye(branch.shape[1], dtype=torch.bool))[:, None]
