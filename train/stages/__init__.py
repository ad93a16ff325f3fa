"""The stages of the recipe, in order."""

from .autoencoder import Autoencoder
from .mllm import Instruct, Mllm
from .sgt import Sgt
from .tokenizer import Tokenizer1, Tokenizer2, Tokenizer3
from .tower import Tower
from .unified import Unified1, Unified2, Unified3

STAGES = {
    s.name: s
    for s in (Autoencoder, Tower, Mllm, Tokenizer1, Tokenizer2, Tokenizer3, Instruct, Unified1, Unified2, Unified3, Sgt)
}
# How a run's minutes are divided.
SHARES = {"autoencoder": 14, "mllm": 18, "tokenizer1": 3, "tokenizer2": 6, "tokenizer3": 4, "instruct": 12,
          "unified1": 4, "unified2": 24, "unified3": 14, "sgt": 10}  # fmt: skip
