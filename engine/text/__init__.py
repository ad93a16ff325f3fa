"""Tokenizer, prompt templates and streaming of text. Importing this loads no tokenizer library."""

from .padding import pad, positions, with_queries
from .prompts import TRAINED_TOKENS, Prompt, Prompts
from .qwen2 import byte_tokenizer
from .special import PLACEHOLDER, SpecialIds
from .stream import TextStream
from .templates import SEGMENT_INSTRUCTION
from .tokenizer import TextTokenizer

__all__ = [
    "PLACEHOLDER",
    "SEGMENT_INSTRUCTION",
    "TRAINED_TOKENS",
    "Prompt",
    "Prompts",
    "SpecialIds",
    "TextStream",
    "TextTokenizer",
    "byte_tokenizer",
    "pad",
    "positions",
    "with_queries",
]
