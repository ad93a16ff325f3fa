"""Arguments that several subcommands share, and how they become an engine."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from ..runtime.assemble import DEFAULT, load


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model, on which backend."""
    group = parser.add_argument_group("model")
    group.add_argument("-m", "--model", default=DEFAULT, help="checkpoint directory, bundled model, or preset with "
                       "--random-weights (default: %(default)s)")  # fmt: skip
    add_backend(group)
    group.add_argument("--random-weights", action="store_true", help="random weights of a preset, to measure speed")
    group.add_argument("--weights-seed", type=int, default=0, metavar="N", help="seed of the random weights")


def add_backend(group: Any) -> None:
    group.add_argument("-b", "--backend", default="auto", help="native, onnxruntime, torch, cuda, tensorrt or auto "
                       "(default)")  # fmt: skip
    group.add_argument("-p", "--precision", default="auto", help="fp32, bf16 ...: what the backend offers")
    group.add_argument("--threads", type=int, help="threads of the backend (default: its own choice)")
    group.add_argument("--plans", metavar="DIR", help="plans made by `spar-export tensorrt`, for backend tensorrt")
    group.add_argument("--lora", action="append", default=[], metavar="FILE[:SCALE]",
                       help="merge a LoRA file (diffusers or peft naming) into the weights; repeatable")  # fmt: skip
    group.add_argument("--dit-position", choices=("sincos", "none"), help="position table of the DiT "
                       "(default: the checkpoint's setting, else sincos)")  # fmt: skip


def add_sampling(parser: argparse.ArgumentParser, images: bool = True) -> None:
    """How pictures are drawn."""
    group = parser.add_argument_group("sampling")
    group.add_argument("--seed", type=int, help="0 .. 2**64-1 (default: a fresh one, which is printed)")
    group.add_argument("--steps", type=int, default=20, dest="num_inference_steps", help="sampler steps (20)")
    group.add_argument(
        "--guidance-scale", type=float, help="1 turns guidance off (default: the checkpoint's own, usually 4.5)"
    )
    if images:
        group.add_argument("-n", "--num-images", type=int, default=1, help="pictures of each prompt (1)")
        group.add_argument("--native", action="store_true", help="full decoder size instead of 28/32 of it")
        group.add_argument("--size", type=_size, metavar="WIDTHxHEIGHT", help="in multiples of 32, half to twice the "
                           "training size (default: that size, and 28/32 of it is kept)")  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    """Rows and columns of "WIDTHxHEIGHT"."""
    sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if sides is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 512x768")
    return int(sides[2]), int(sides[1])


def add_output(parser: argparse.ArgumentParser, default: str | None) -> None:
    group = parser.add_argument_group("output")
    if default:
        group.add_argument("-o", "--output", default=default, help="picture to write; {n} is its number (%(default)s)")
    group.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def open_engine(arguments: argparse.Namespace, **more: Any) -> Any:
    """The engine that `add_model` describes; `more` goes to `load` as it is."""
    if arguments.plans is not None:
        more["plans"] = arguments.plans
    engine = load(
        arguments.model, backend=arguments.backend, precision=arguments.precision, threads=arguments.threads,
        random_weights=arguments.random_weights, seed=arguments.weights_seed, dit_position=arguments.dit_position,
        lora=arguments.lora, **more,
    )  # fmt: skip
    if engine.about["random"]:
        print(f"{engine.config.name}: random weights, which show the path and its speed, not pictures", file=sys.stderr)
    return engine
