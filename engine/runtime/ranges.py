"""NVTX ranges around the runs of components, for Nsight Systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import MissingDependency


def ranged(run: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """A backend's `run` within a range of the domain "spar", named like the events of a trace: `dit[1x32x16x16]`.

    errors  MissingDependency without the package nvtx
    """
    try:
        import nvtx
    except ImportError:
        raise MissingDependency("nvtx=True needs the package nvtx; pip install nvtx") from None

    def inside(component: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
        with nvtx.annotate(run_name(component, inputs), domain="spar"):
            return run(component, inputs, **more)

    return inside


def run_name(component: str, inputs: dict[str, Any]) -> str:
    """A component's name with the shape of its first input."""
    return f"{component}[{'x'.join(map(str, next(iter(inputs.values())).shape))}]"
