"""`spar info`: what a checkpoint is, and what it needs."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from ..runtime.assemble import DEFAULT, open_weights
from .show import report, table


def add(commands: Any) -> None:
    """Add `spar info`."""
    text = "what a checkpoint is: features, sizes, memory"
    parser = commands.add_parser("info", help=text, description=text)
    parser.set_defaults(run=run)
    parser.add_argument("model", nargs="?", default=DEFAULT, help="checkpoint directory, bundled model or preset")
    parser.add_argument("--random-weights", action="store_true", help="describe a preset without a checkpoint")
    parser.add_argument("--dit-position", choices=("sincos", "none"), help="position table of the DiT")
    parser.add_argument("--verify", action="store_true", help="read every weight; report NaN, infinity and the hash")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def describe(weights: Any) -> dict[str, Any]:
    """Features, sizes and memory plan of opened weights, as JSON values."""
    from ..weights.schema import parameters

    config = weights.config
    stored = weights.memory()
    dtypes: dict[str, int] = {}
    counts: dict[str, int] = {}
    for name in weights.names():
        info = weights.info(name)
        dtypes[info.dtype] = dtypes.get(info.dtype, 0) + 1
        part = _component(name)
        counts[part] = counts.get(part, 0) + _size(info.shape)
    return {
        "name": config.name,
        "features": {
            "dual_stream": config.streams.dual,
            "dtr": None if config.router is None else {"picks": config.router.picks, "levels": config.levels,
                                                       "temperature": config.router.temperature},
            "dit_position": config.dit.position,
            "vocabulary": config.language.vocab_size,
        },
        "can_run": sorted(weights.parts),
        "picture": config.picture_size, "native_picture": config.dit.sample_size * config.decoder.upscale,
        "parameters": parameters(config), "stored_dtypes": dtypes, "ignored": list(weights.ignored),
        "memory": {name: {"stored": stored[name], "fp32": 4 * counts[name], "bf16": 2 * counts[name]}
                   for name in stored},
        "config": dataclasses.asdict(config),
    }  # fmt: skip


def _component(name: str) -> str:
    from ..weights.schema import component_of

    return component_of(name)


def _size(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _mega(count: int) -> str:
    return f"{count / 1e6:,.2f} M"


def run(arguments: argparse.Namespace) -> int:
    weights = open_weights(arguments.model, random_weights=arguments.random_weights,
                           dit_position=arguments.dit_position)  # fmt: skip
    found = describe(weights)
    if arguments.verify:
        weights.verify_finite()
        found["sha256"] = weights.sha256()
    if arguments.json:
        report(found, [], True)
        return 0
    features = found["features"]
    dtr = features["dtr"]
    routing = "no" if dtr is None else f"{dtr['picks']} of {weights.config.language.depth} levels {list(dtr['levels'])}"
    lines = [
        f"{found['name']}  {_mega(found['parameters']['total'])} parameters, stored as "
        + ", ".join(f"{dtype} ({count} tensors)" for dtype, count in found["stored_dtypes"].items()),
        f"  pictures          {found['picture']} px, native {found['native_picture']} px",
        f"  dual stream       {'yes' if features['dual_stream'] else 'no'}",
        f"  token routing     {routing}",
        f"  DiT positions     {features['dit_position']}  (not stored in checkpoints; --dit-position changes it)",
        f"  vocabulary        {features['vocabulary']} rows",
        f"  can run           {', '.join(found['can_run'])}",
        f"  ignored tensors   {len(found['ignored'])}" + "".join(f"\n    {name}" for name in found["ignored"]),
    ]
    if arguments.verify:
        lines.append(f"  sha256            {found['sha256']}; every weight is finite")
    report(found, lines, False)
    rows = [[name, *(f"{entry[kind] / 1e6:,.1f}" for kind in ("stored", "fp32", "bf16"))]
            for name, entry in found["memory"].items()]  # fmt: skip
    rows.append(["all", *(f"{sum(entry[kind] for entry in found['memory'].values()) / 1e6:,.1f}"
                          for kind in ("stored", "fp32", "bf16"))])  # fmt: skip
    table("memory of the weights, MB", ["component", "stored", "in fp32", "in bf16"], rows)
    return 0
