"""Every component and a whole picture of the cuda backend against torch in float32 on the same weights."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from spar_engine.backends.cuda import CudaBackend
from spar_engine.backends.torch import TorchBackend
from spar_engine.components import components
from spar_engine.config import preset
from spar_engine.pipelines.call import run
from spar_engine.pipelines.generate import Prompt, image_from
from spar_engine.pipelines.understand import Decoding, understand
from spar_engine.pipelines.vision import reconstruct
from spar_engine.runtime.assemble import host_parts
from spar_engine.samplers import noise
from spar_engine.weights import RandomWeights

from .stages import Rows

AXES = {"dit": {"branch": 2, "tokens": 29}, "language": {"past": 5}}


class Kept(RandomWeights):
    """Random weights that keep what they drew, as several backends of one process load them."""

    f32 = functools.cache(RandomWeights.f32)
    raw = functools.cache(RandomWeights.raw)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(x, np.float64)))))


def off(got: Any, want: Any) -> float:
    """Root mean square of the difference, beside that of what is wanted."""
    return rms(np.asarray(got) - np.asarray(want)) / rms(np.asarray(want))


def inputs_of(weights: Any, component: str) -> dict[str, np.ndarray]:
    given = components(weights.config)[component].example(np.random.default_rng(5), **AXES.get(component, {}))
    if component == "dit":
        given["lengths"], given["final_modulation"] = np.array([29, 17]), given["final_modulation"] / 4
    return given


def component(ours: Any, plain: Any, exact: Any, name: str) -> dict[str, Any]:
    """Error of the worst output beside plain torch's in the same precision; at most 1.25 of it, and half a unit of
    bf16. The same call again gives the same bits."""
    given = inputs_of(ours.weights, name)
    want, rough = exact.run(name, given), plain.run(name, given)
    got, again = ours.run(name, given), ours.run(name, given)
    errors = {key: (off(got[key], want[key]), off(rough[key], want[key])) for key in want}
    error, torch_error = max(errors.values())
    same = all(np.array_equal(np.asarray(got[key]), np.asarray(again[key])) for key in want)
    return {"ok": same and all(mine <= 1.25 * theirs + 2.0**-9 for mine, theirs in errors.values()),
            "error": error, "torch_bf16": torch_error, "same_bits": same}  # fmt: skip


def prompts(weights: Any) -> tuple[Prompt, Prompt]:
    """Token ids of two prompts of different lengths."""
    top = min(weights.config.language.vocab_size, 500) - 10
    return Prompt(ids=np.arange(3, 3 + 32) % top), Prompt(ids=np.arange(5, 5 + 13) % top)


def picture(weights: Any, backend: Any, steps: int = 4, parts: Any = None, **options: Any) -> np.ndarray:
    """One picture through the pipeline, [1, 3, H, W], with nothing kept from an earlier one; options go to `run`."""
    parts = host_parts(weights) if parts is None else parts
    parts.clear()
    positive, negative = prompts(weights)
    d = weights.config.dit
    start = noise(3, (d.in_channels, d.sample_size, d.sample_size))
    work = image_from(parts, positive, negative, [start], steps, 4.5)
    return np.asarray(run(work, backend.run, **options)[0])


def pictures(weights: Any, ours: Any, plain: Any, exact: Any) -> dict[str, Any]:
    """A whole picture at once, step by step, and by torch: errors against float32, and the same bits again."""
    want, rough = picture(weights, exact), picture(weights, plain)
    whole, again = (picture(weights, ours, offers=ours.offers) for _ in range(2))
    stepped = picture(weights, ours)
    errors = {"at_once": off(whole, want), "stepped": off(stepped, want), "torch_bf16": off(rough, want)}
    same = np.array_equal(whole, again)
    allowed = 1.25 * errors["torch_bf16"] + 2.0**-9
    return {"ok": same and max(errors["at_once"], errors["stepped"]) <= allowed, "same_bits": same, **errors}


def reconstruction(weights: Any, ours: Any, plain: Any, exact: Any) -> dict[str, Any]:
    """A picture through the image tokenizer and back."""
    side = weights.config.vision.image_size
    pixels = np.random.default_rng(1).standard_normal((1, 3, side, side), dtype=np.float32)
    got, rough, want = (
        np.asarray(run(reconstruct(host_parts(weights), pixels), backend.run)) for backend in (ours, plain, exact)
    )
    error, torch_error = off(got, want), off(rough, want)
    return {"ok": error <= 1.25 * torch_error + 2.0**-9, "error": error, "torch_bf16": torch_error}


def answer(weights: Any, ours: Any) -> dict[str, Any]:
    """Decoding of eight tokens, twice: the same tokens."""
    ids, _ = prompts(weights)
    replies = [run(understand(host_parts(weights), ids.ids, None, Decoding(max_new_tokens=8), frozenset(), str),
                   ours.run).ids for _ in range(2)]  # fmt: skip
    return {"ok": replies[0] == replies[1] and len(replies[0]) == 8, "tokens": replies[0]}


def eight_bits(weights: Any, exact: Any, device: str, **options: Any) -> dict[str, Any]:
    """Error of a DiT step with products in e4m3: measured, not judged."""
    ours, given = CudaBackend(weights, device=device, precision="fp8", **options), inputs_of(weights, "dit")
    error = off(ours.run("dit", given)["velocity"], exact.run("dit", given)["velocity"])
    return {"error": error, "answered": ours.about()["answered"]}


def check(rows: Rows, weights: Any, device: str, **options: Any) -> None:
    """Rows of all components and tasks; options go to the cuda backend."""
    torch.backends.cudnn.allow_tf32 = False  # "fp32" is what the others are measured with
    exact = TorchBackend(weights, precision="fp32", device=device)
    plain = TorchBackend(weights, precision="bf16", device=device)
    ours = CudaBackend(weights, device=device, **options)
    for name in components(weights.config):
        rows.attempt(f"component {name}", lambda name=name: component(ours, plain, exact, name))
    rows.attempt("text to image", lambda: pictures(weights, ours, plain, exact))
    rows.attempt("reconstruct", lambda: reconstruction(weights, ours, plain, exact))
    rows.attempt("ask", lambda: answer(weights, ours))
    rows.attempt("fp8 dit", lambda: eight_bits(weights, exact, device, **options))
    rows.add("backend", **ours.about())


def main(arguments: list[str]) -> int:
    from .build import CUBINS

    rows = Rows(arguments[-1])
    cubins = CUBINS if (CUBINS / "manifest.json").exists() else None
    models = {"spar-tiny-random": {}} | ({"spar-1b": {"cubins": cubins}} if "--large" in arguments else {})
    for name, options in models.items():
        rows.attempt(f"all of {name}", lambda name=name, options=options: {
            "seconds": _seconds(lambda: check(rows, Kept(preset(name)), "cuda", **options))})  # fmt: skip
    return rows.close()


def _seconds(work: Callable[[], None]) -> float:
    begin = time.monotonic()
    work()
    return round(time.monotonic() - begin, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
