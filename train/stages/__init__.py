"""The stages of the recipe, in order."""

from .autoencoder import Autoencoder
from .mllm import Instruct, Mllm
from .painter import Painter
from .sgt import Sgt
from .tokenizer import Tokenizer1, Tokenizer2, Tokenizer3
from .tower import Tower
from .unified import Unified1, Unified2, Unified3

STAGES = {
    s.name: s
    for s in (
        Autoencoder,
        Tower,
        Mllm,
        Tokenizer1,
        Tokenizer2,
        Tokenizer3,
        Instruct,
        Painter,
        Unified1,
        Unified2,
        Unified3,
        Sgt,
    )
}
# How a run's minutes are divided. Stages without any run by name only: docs/training.md tells why.
SHARES = {"autoencoder": 14, "tower": 12, "mllm": 18, "tokenizer1": 3, "tokenizer2": 6, "tokenizer3": 4, "instruct": 20,
          "painter": 60, "unified1": 45, "unified2": 0, "unified3": 0, "sgt": 18}  # fmt: skip
