"""The command `spar-export`. Exit codes: 0 done or fresh, 1 something is stale, 2 cannot be done, 130 interrupted."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spar_engine.errors import InputError, MissingDependency, SparError

from .tensorrt import command as tensorrt


def parser() -> argparse.ArgumentParser:
    """Arguments of every subcommand."""
    top = argparse.ArgumentParser(prog="spar-export", description="Make what backends run, from trained checkpoints.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_onnx(commands.add_parser("onnx", help="one ONNX file for each component"))
    tensorrt.add(commands.add_parser("tensorrt", help="TensorRT plans, one for each component"))
    _add_status(commands.add_parser("status", help="what is fresh, what is stale, and why"))
    _add_convert(commands.add_parser("convert", help="PyTorch pickle to safetensors"))
    _add_wheels(commands.add_parser("wheels", help="wheels in small verified pieces, for an offline machine"))
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("spar-export: interrupted; what was complete stays, nothing is half-written", file=sys.stderr)
        return 130
    except SparError as error:
        print(f"spar-export {arguments.command}: {error}", file=sys.stderr)
        return 2


def _add_onnx(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", help="checkpoint directory; with --random-weights a preset, or a model as JSON")
    command.add_argument("out", nargs="?", help="directory to write to; --in-place: the checkpoint itself by default")
    command.add_argument("--components", metavar="A,B", help="only these (default: all)")
    command.add_argument(
        "--taps", action="store_true", help="also graphs that show their inner tensors, for `spar doctor`"
    )
    command.add_argument("--in-place", action="store_true", help="refer to the checkpoint's files, copy no weights")
    command.add_argument("--lora", action="append", default=[], metavar="FILE[:SCALE]",
                         help="merge a LoRA file into the weights; repeatable")  # fmt: skip
    command.add_argument("--random-weights", action="store_true", help="random weights, to measure speed")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (0)")
    add_common(command)
    command.add_argument("-q", "--quiet", action="store_true", help="no progress")
    command.set_defaults(run=_onnx)


def _add_status(command: argparse.ArgumentParser) -> None:
    command.add_argument("out", help="directory of artefacts")
    command.add_argument("source", nargs="?", metavar="checkpoint", help="model that they should be of")
    command.add_argument("--random-weights", action="store_true", help="the model is a preset with random weights")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the random weights (0)")
    add_common(command)
    command.set_defaults(run=_status)


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", help="flat .pth or .bin state dict")
    command.add_argument("out", help="checkpoint directory to make")
    command.add_argument("--config", help="directory whose config.json and tokenizer belong to the tensors")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    command.set_defaults(run=_convert)


def _add_wheels(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("split", "join"), help="split wheels, or join the pieces in a folder")
    command.add_argument("source", nargs="+", help="split: wheels; join: the folder")
    command.add_argument("-o", "--out", help="split: folder to make")
    command.add_argument("--size", type=int, default=60, metavar="MIB", help="split: largest piece (60)")
    command.set_defaults(run=_wheels)


def add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dit-position", choices=("sincos", "none"), help="position table of the DiT "
                         "(default: the checkpoint's setting, else sincos)")  # fmt: skip
    command.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def open_source(source: str, random_weights: bool, seed: int, position: str | None) -> Any:
    """The weights that the arguments name: a checkpoint directory, or random weights of a preset or a JSON model."""
    from spar_engine.config import preset
    from spar_engine.config.jsonfile import load_json
    from spar_engine.config.serial import from_dict
    from spar_engine.weights import Checkpoint, RandomWeights

    if not random_weights:
        if seed:
            raise InputError(f"--seed {seed} has no effect on a checkpoint; it belongs to --random-weights")
        return Checkpoint.open(source, dit_position=position)
    config = from_dict(load_json(Path(source)), source) if source.endswith(".json") else preset(source)
    if position is not None:
        config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, position=position))
    return RandomWeights(config, seed)


def _onnx(arguments: argparse.Namespace) -> int:
    from spar_engine.weights.lora import with_loras

    from .onnx import export_onnx
    from .progress import Bars, Quiet

    for package in ("torch", "onnx"):
        need(package)
    if arguments.out is None and not arguments.in_place:
        raise InputError("give the directory to write to as the second argument, or --in-place")
    weights = open_source(arguments.source, arguments.random_weights, arguments.seed, arguments.dit_position)
    weights = with_loras(weights, arguments.lora)
    out = Path(arguments.out or arguments.source)
    only = None if arguments.components is None else [name.strip() for name in arguments.components.split(",")]
    options = {"only": only, "taps": arguments.taps, "in_place": arguments.in_place}
    if arguments.quiet:
        built = export_onnx(weights, out, progress=Quiet(), **options)
    else:
        with Bars() as bars:
            built = export_onnx(weights, out, progress=bars, **options)
    if arguments.json:
        print_json({"directory": str(out), "components": {item.name: dataclasses.asdict(item) for item in built}})
    else:
        made = [item for item in built if item.reasons]
        print(f"{out}: {len(made)} built, {len(built) - len(made)} fresh"
              + (f", {sum(item.bytes for item in made) / 1e6:.1f} MB in {sum(i.seconds for i in made):.1f} s"
                 if made else ""))  # fmt: skip
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from spar_engine.backends.plans.manifest import is_plans

    if is_plans(Path(arguments.out)):
        from .tensorrt.plans import status
    else:
        from .onnx import status

    if arguments.source is None and (arguments.random_weights or arguments.dit_position or arguments.seed):
        raise InputError("--random-weights, --seed and --dit-position need the model as the second argument")
    weights = None
    if arguments.source is not None:
        weights = open_source(arguments.source, arguments.random_weights, arguments.seed, arguments.dit_position)
    found = status(arguments.out, weights)
    if arguments.json:
        states = {name: {"fresh": not why, "reasons": why} for name, why in found.items()}
        print_json({"directory": arguments.out, "components": states})
    else:
        width = max(map(len, found), default=0)
        for name, why in found.items():
            print(f"{name:<{width}}  {'stale: ' + '; '.join(why) if why else 'fresh'}")
    return 1 if any(found.values()) or not found else 0


def _convert(arguments: argparse.Namespace) -> int:
    from .convert import convert
    from .progress import counted

    need("torch")
    with counted("tensors") as progress:
        made = convert(arguments.source, arguments.out, config=arguments.config, progress=progress)
    if arguments.json:
        print_json({**dataclasses.asdict(made), "directory": str(made.directory)})
    else:
        print(f"{made.directory}: {made.tensors} tensors, {made.bytes / 1e6:.1f} MB"
              + (f"; left out {len(made.left_out)} that only training uses" if made.left_out else ""))  # fmt: skip
    return 0


def _wheels(arguments: argparse.Namespace) -> int:
    from .wheels import join, split

    if arguments.action == "join":
        if len(arguments.source) != 1:
            raise InputError("join takes one folder")
        for wheel in join(arguments.source[0]):
            print(wheel)
        return 0
    if arguments.out is None:
        raise InputError("split needs a folder to make: -o FOLDER")
    pieces = split(arguments.source, arguments.out, arguments.size << 20)
    print(f"{arguments.out}: {len(pieces)} pieces of at most {arguments.size} MiB; join them there with: sh join.sh")
    return 0


def need(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingDependency(f"exporting needs the package {package}; pip install 'spar-engine[export]'")


def print_json(found: dict[str, Any]) -> None:
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
