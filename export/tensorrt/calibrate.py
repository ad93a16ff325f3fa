"""What the products of the DiT are multiplied with, found by drawing a few pictures in torch.

Random inputs, which plans are verified with, count too: they reach further than a trained model's, and a wide range
costs a floating type next to nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch.nn.functional as F
from spar_engine.backends.torch import TorchBackend
from spar_engine.components import components
from spar_engine.errors import BackendError
from spar_engine.pipelines.call import run
from spar_engine.pipelines.condition import caption
from spar_engine.pipelines.denoise import context, denoise
from spar_engine.pipelines.parts import Parts
from spar_engine.samplers import Sampler, noise
from spar_engine.weights.dtypes import to_f32
from torch.overrides import TorchFunctionMode

from .fp8 import PATH, PLACES

PROMPTS = (
    "a red circle above a blue square", "a photo of an astronaut riding a horse", "two cats asleep on a green sofa",
    "an oil painting of a harbour at dawn, soft light, detailed", "a street at night in the rain", "a sunflower",
)  # fmt: skip
STEPS, GUIDANCE = 6, 4.5


class _Largest(TorchFunctionMode):
    """Notes the largest magnitude that each watched weight is multiplied with.

    watched  identity of a weight -> its name
    """

    def __init__(self, watched: dict[int, str]):
        super().__init__()
        self.watched, self.found = watched, dict.fromkeys(watched.values(), 0.0)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (F.linear, F.conv2d) and (name := self.watched.get(id(args[1]))) is not None:
            self.found[name] = max(self.found[name], float(args[0].abs().max()))
        return function(*args, **(kwargs or {}))


def largest_inputs(weights: Any) -> dict[str, float]:
    """Parameter -> largest magnitude of its inputs, for every product of the DiT's blocks.

    weights  a checkpoint, whose tokenizer reads PROMPTS, or random weights, whose prompts are random tokens
    errors   BackendError where a component of the path to a picture is missing, or an input is not finite
    """
    if missing := [name for name in PATH if name not in weights.parts]:
        raise BackendError(f"--precision fp8 draws pictures to see the range of values, but these weights lack "
                           f"{', '.join(missing)}; use --precision bf16")  # fmt: skip
    config, backend = weights.config, TorchBackend(weights, precision="bf16")
    try:
        module = backend.load("dit")
        watched = {id(value): name for name, value in module.named_parameters() if PLACES.search(name)}
        seen = _Largest(watched)
        parts = _parts(weights)
        shape = config.dit.in_channels, config.dit.sample_size, config.dit.sample_size
        nothing, *prompts = _ids(weights)
        with seen:
            empty = run(caption(parts, nothing), backend.run)
            for index, ids in enumerate(prompts):
                where = run(context(parts, [empty, run(caption(parts, ids), backend.run)]), backend.run)
                sampler = Sampler.of(config.sampler, STEPS)
                run(denoise(parts, where, noise(0, shape, first=index), sampler, GUIDANCE), backend.run)
            backend.run("dit", components(config)["dit"].example(np.random.default_rng(0)))  # as parity checks do
    finally:
        backend.close()
    if bad := [name for name, value in seen.found.items() if not math.isfinite(value) or value == 0]:
        raise BackendError(f"--precision fp8: the inputs of `{bad[0]}` came out as {seen.found[bad[0]]} in the "
                           "pictures drawn to see their range; use --precision bf16")  # fmt: skip
    return seen.found


def _parts(weights: Any) -> Parts:
    name = "model.language_model.embed_tokens.weight"
    table, dtype = weights.raw(name), weights.info(name).dtype
    return Parts(weights.config, lambda ids: to_f32(table[ids], dtype), weights.f32("model.latent_queries")[0])


def _ids(weights: Any) -> list[np.ndarray]:
    """Tokens of the empty prompt, then of each of PROMPTS."""
    config = weights.config.language
    if weights.directory is None:
        generator = np.random.default_rng(0)
        return [generator.integers(0, min(config.vocab_size, 256), size) for size in (4, *map(len, PROMPTS))]
    from spar_engine.text import Prompts, TextTokenizer

    prompts = Prompts(TextTokenizer.open(weights.directory, config.vocab_size, weights.config.image_token_id),
                      weights.config)  # fmt: skip
    return [prompts.unconditional().ids, *(prompts.generation(text).ids for text in PROMPTS)]
