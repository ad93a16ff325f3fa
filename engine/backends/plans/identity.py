"""The key of a plan: everything it depends on, by topic, so that a difference can be told in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...errors import CheckpointError
from ..identity import recipe_sha256, spec_sha256

_STEPS = ("split", "typed", "fp8", "calibrate", "ours", "profiles", "cores", "cutting")
CODE = tuple(f"tensorrt/{step}.py" for step in _STEPS)
"""The exporter's code that decides what a plan's graph is, beside that of the ONNX file."""

SAID = {
    "configuration": "the configuration changed",
    "graph": "the graph changed",
    "code": "the exporter or the modules changed",
    "weights": "the weights changed",
    "kernels": "our plugins changed",
}
"""Topics whose values say nothing to a reader."""


def code() -> str:
    """Digest of the code that makes graphs for plans."""
    return recipe_sha256(*CODE)


def configuration(name: str, config: Any) -> str:
    return spec_sha256(name, config)


def weights_key(weights: Any, parameters: Iterable[str], stripped: bool) -> str:
    """Digest of the parameters; of their names and shapes alone where the plan does not hold them.

    returns  "unknown" where the model lacks one of them
    """
    names = sorted(parameters)
    try:
        if not stripped:
            return weights.sha256(names)
        return " ".join(f"{name}{list(weights.info(name).shape)}" for name in names)
    except CheckpointError:
        return "unknown"


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Why a plan with key `before` is not the one with key `now`: one sentence a topic. Both in words of a user."""
    found = []
    for topic, value in now.items():
        had = before.get(topic, "unknown")
        if had != value:
            found.append(SAID.get(topic) or f"{topic} was {had}, is {value}")
    return found
