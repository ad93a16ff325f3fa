"""Float64 results of components, by the torch modules in double precision, and the most that plain torch loses in each
type on any of the seeds.

They take minutes at full size, so they are kept in the user's cache under weights, sizes and seeds."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from spar_engine.config.serial import to_dict
from spar_engine.weights.digest import cache_directory

from .works import Work, inputs_of, travelling, work_named

RECIPE = 3  # raise when inputs or modules change meaning
TYPES = ("fp32", "bf16")


def open_weights(source: str, random: bool) -> Any:
    from spar_engine.runtime.assemble import open_weights as opened

    return opened(source, random_weights=random)


def kept_at(weights: Any, work: Work, seeds: tuple[int, ...]) -> Path:
    """The file of a reference in the user's cache."""
    content = [RECIPE, to_dict(weights.config), weights.sha256(), work.name, work.sizes, list(seeds)]
    name = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
    return cache_directory() / "bench" / "references" / f"{weights.config.name}-{work.name}-{name}.npz"


def prepare(source: str, random: bool, name: str, sizes: dict[str, int], seeds: list[int]) -> dict[str, Any]:
    """Make the reference unless it is there. Returns its `path`, and `flops` and `parameters` of the component.

    Runs in a worker of its own, for it needs torch and the weights in double precision."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    weights = open_weights(source, random)
    work = work_named(weights.config, name, **sizes)
    path = kept_at(weights, work, tuple(seeds))
    if not path.exists():
        _write(path, _compute(weights, work, seeds))
    return {"path": str(path), **count(weights.config, work)}


def _compute(weights: Any, work: Work, seeds: list[int]) -> dict[str, np.ndarray]:
    exact = {seed: _run(weights, work, seed, "fp64") for seed in seeds}
    found = {f"want/{seed}/{name}": value for seed, outputs in exact.items() for name, value in outputs.items()}
    for precision in TYPES:
        losses = [_losses(_run(weights, work, seed, precision), exact[seed]) for seed in seeds]
        for name in losses[0]:
            found[f"plain/{precision}/{name}"] = np.max([loss[name] for loss in losses], axis=0)
    return found


def _losses(outputs: dict[str, np.ndarray], exact: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """(largest, norm) of the error of every output."""
    errors = {name: np.abs(value - exact[name]) for name, value in outputs.items()}
    return {name: (float(error.max()), float(np.linalg.norm(error))) for name, error in errors.items()}


def _run(weights: Any, work: Work, seed: int, precision: str) -> dict[str, np.ndarray]:
    from spar_engine.backends.torch import TorchBackend

    backend = TorchBackend(weights, precision=precision)
    inputs, earlier = inputs_of(weights.config, work, seed)
    if work.before is not None:
        inputs |= travelling(work, backend.run(work.before, earlier))
        if work.before != work.component:
            backend.unload(work.before)
    outputs = {name: np.asarray(value, np.float64) for name, value in backend.run(work.component, inputs).items()}
    backend.close()
    gc.collect()
    return newest(work, outputs)


def newest(work: Work, outputs: dict[str, Any]) -> dict[str, Any]:
    """Of a grown cache only the rows of this call: the others were inputs."""
    if work.component != "language":
        return outputs
    return {name: value[:, :, :, -work.sizes["tokens"] :] if name in ("keys", "values") else value
            for name, value in outputs.items()}  # fmt: skip


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(aside, **arrays)
    os.replace(aside, path)


def count(config: Any, work: Work) -> dict[str, float]:
    """Multiply-adds twice of the matrix products, convolutions and attentions of one call, counted by torch on the meta
    device; `parameters` are those read by the call."""
    import torch
    from spar_engine.components import components
    from spar_engine.modules import cuts
    from torch.utils.flop_counter import FlopCounterMode

    from ..peers.plain import open_operators

    module = open_operators(cuts.build(work.component, config))
    spec = components(config)[work.component]
    shapes = {name: value.shape for name, value in spec.example(np.random.default_rng(0), **work.sizes).items()}
    inputs = [torch.empty(shapes[name], dtype=getattr(torch, tensor.dtype), device="meta")
              for name, tensor in spec.inputs.items()]  # fmt: skip
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module(*inputs)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    travels = sum(int(np.prod(shapes[name])) for name in shapes if name.startswith(("past_", "cross_")))
    return {"flops": float(counter.get_total_flops()), "parameters": float(parameters), "travels": float(travels)}
