"""`spar generate`, `edit`, `ask`, `reconstruct`, `segment`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..errors import InputError
from .options import add_model, add_output, add_sampling, open_engine
from .show import progress, report, seconds


def add(commands: Any) -> None:
    """Add the subcommands of the five tasks."""
    parser = _command(commands, "generate", generate, "text to image", "spar.png")
    parser.add_argument("prompt", nargs="+", help="what to draw; several prompts make several pictures")
    parser.add_argument("--negative-prompt", help="what to stay away from")
    add_sampling(parser)

    parser = _command(commands, "edit", edit, "change a picture", "edited.png")
    parser.add_argument("image", help="picture to change")
    parser.add_argument("instruction", help="what to change")
    parser.add_argument("--negative-prompt", help="what to stay away from")
    add_sampling(parser)

    parser = _command(commands, "segment", segment, "paint every object in its own colour", "segments.png")
    parser.add_argument("image", help="picture to segment")
    parser.add_argument("instruction", nargs="?", help="what to paint (default: every object)")
    add_sampling(parser, images=False)

    parser = _command(commands, "reconstruct", reconstruct, "a picture through the tokenizer and back", "again.png")
    parser.add_argument("image", help="picture to reconstruct")
    parser.add_argument("--size", type=int, help="side in pixels (default: the model's)")
    parser.add_argument("--padded", action="store_true", help="mirror the edges up to the next multiple of the patches")

    parser = _command(commands, "ask", ask, "answer a question about a picture", None)
    parser.add_argument("image", help="picture the question is about, or - for none")
    parser.add_argument("question", help="what to answer")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="longest answer (256)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--top-p", type=float, default=1.0, help="draw from the likeliest tokens only (1: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws")
    parser.add_argument("--max-tiles", type=int, default=1, help="1 .. 12; more see small things better (1)")


def _command(commands: Any, name: str, run: Any, text: str, output: str | None) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    add_model(parser)
    add_output(parser, output)
    return parser


def _sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("seed", "num_inference_steps", "guidance_scale", "num_images", "native", "size")
    return {name: getattr(arguments, name) for name in names if name in arguments}


def destinations(pattern: str, count: int) -> list[Path]:
    """Files for `count` pictures; {n} in the pattern is the number, without it numbers go before the ending."""
    from ..image import check_destination

    if count > 1 and "{n}" not in pattern:
        path = Path(pattern)
        pattern = str(path.with_name(f"{path.stem}-{{n}}{path.suffix}"))
    paths = [Path(pattern.replace("{n}", str(number))) for number in range(count)]
    for path in paths:
        check_destination(path)
    return paths


def _write(result: Any, paths: list[Path], arguments: argparse.Namespace, **more: Any) -> int:
    for picture, path in zip(result.pictures, paths, strict=True):
        picture.save(path)
    found = {"pictures": [{"path": str(path), **picture.settings} for picture, path
                          in zip(result.pictures, paths, strict=True)], "timings": result.timings, **more}  # fmt: skip
    lines = [f"{path}  {_remark(picture.settings)}" for picture, path in zip(result.pictures, paths, strict=True)]
    report(found, [*lines, seconds(result.timings)], arguments.json)
    return 0


def _remark(settings: dict[str, Any]) -> str:
    return f"seed {settings['seed']}" if "seed" in settings else settings["task"]


def generate(arguments: argparse.Namespace) -> int:
    paths = destinations(arguments.output, len(arguments.prompt) * max(1, arguments.num_images))
    with open_engine(arguments) as engine, progress("generate", arguments.quiet) as on_step:
        result = engine.generate(arguments.prompt, negative_prompt=arguments.negative_prompt, on_step=on_step,
                                 **_sampling(arguments))  # fmt: skip
    return _write(result, paths, arguments)


def edit(arguments: argparse.Namespace) -> int:
    paths = destinations(arguments.output, max(1, arguments.num_images))
    with open_engine(arguments) as engine, progress("edit", arguments.quiet) as on_step:
        result = engine.edit(arguments.image, arguments.instruction, negative_prompt=arguments.negative_prompt,
                             on_step=on_step, **_sampling(arguments))  # fmt: skip
    return _write(result, paths, arguments)


def segment(arguments: argparse.Namespace) -> int:
    [path] = destinations(arguments.output, 1)
    with open_engine(arguments) as engine, progress("segment", arguments.quiet) as on_step:
        result = engine.segment(arguments.image, arguments.instruction, on_step=on_step, **_sampling(arguments))
    result.picture.save(path)
    regions = [{"colour": list(region.colour), "area": region.area, "box": list(region.box)}
               for region in result.regions]  # fmt: skip
    lines = [f"{path}  {len(regions)} regions", *(f"  {r['colour']}  {r['area']} pixels  box {r['box']}"
                                                   for r in regions), seconds(result.timings)]  # fmt: skip
    report({"path": str(path), **result.picture.settings, "regions": regions, "timings": result.timings}, lines,
           arguments.json)  # fmt: skip
    return 0


def reconstruct(arguments: argparse.Namespace) -> int:
    paths = destinations(arguments.output, 1)
    with open_engine(arguments) as engine:
        result = engine.reconstruct(arguments.image, size=arguments.size, padded=arguments.padded)
    return _write(result, paths, arguments)


def ask(arguments: argparse.Namespace) -> int:
    image = None if arguments.image == "-" else arguments.image
    how = {name: getattr(arguments, name) for name in ("max_new_tokens", "temperature", "top_p", "seed", "max_tiles")}
    if not arguments.question:
        raise InputError("question is empty; write some text")
    with open_engine(arguments) as engine:
        if not arguments.json:
            for piece in engine.ask(image, arguments.question, stream=True, **how):
                sys.stdout.write(piece)
                sys.stdout.flush()
            sys.stdout.write("\n")
            return 0
        answer = engine.ask(image, arguments.question, **how)
    report({"answer": answer.text, "token_ids": answer.token_ids, "prompt_tokens": answer.prompt_tokens,
            "finished": answer.finished, "timings": answer.timings}, [], True)  # fmt: skip
    return 0
