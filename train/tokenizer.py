"""spar-nano's own tokenizer.json: byte-level BPE in the Qwen2 manner, trained on the words of the world."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from spar_engine.text.templates import CHAT_SYSTEM

from .world import edits, questions, sample, words

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>",
           "<ref>", "</ref>", "<box>", "</box>")  # fmt: skip
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FRAMES = ("system\n" + CHAT_SYSTEM, "user\nGenerate an image: ", "user\nGenerate an image.", "user\nEdit the image: ",
          "user\nEdit the image.\n", "\n", "assistant\n")  # fmt: skip


def corpus(seed: int, scenes: int) -> Iterator[str]:
    """Every kind of text that the model meets, from `scenes` training scenes."""
    rng = np.random.default_rng(seed)
    batch = sample.training_scenes(rng, scenes)
    for i in range(scenes):
        yield from FRAMES
        yield words.ask(rng, batch, i).words(rng)
        for question, answer in questions.some_questions(rng, batch, i, 4):
            yield question
            yield answer
    kinds = rng.choice(edits.KINDS, scenes)
    yield from (text for text in edits.edit(rng, batch, kinds)[1] if text)
    yield from edits.MAP_INSTRUCTIONS * (scenes // 10)


def train_tokenizer(path: Path, *, seed: int = 0, scenes: int = 4000) -> int:
    """Writes `path` (a tokenizer.json) and returns the size of the vocabulary, special tokens included."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    # More merges than the corpus can give: every word it holds becomes one token.
    trainer = trainers.BpeTrainer(
        vocab_size=4096, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(corpus(seed, scenes), trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path), pretty=False)
    return tokenizer.get_vocab_size()


def token_ids(path: Path) -> dict[str, int]:
    """Ids of the special tokens, by string."""
    added = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
    return {token["content"]: token["id"] for token in added}
