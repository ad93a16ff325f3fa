"""What a backend offers. Pipelines ask for components by name and never know which backend answers."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

Array = Any
"""A numpy array, or a backend's own value for what only travels from one call to the next (cache, cross keys)."""


@runtime_checkable
class Backend(Protocol):
    """Runs the components of one model (`spar_engine.components` says what each takes and gives)."""

    name: str
    precision: str

    def load(self, component: str) -> Any:
        """Make a component ready, so that its first run takes no longer than the next."""

    def run(self, component: str, inputs: dict[str, Array], taps: bool = False) -> dict[str, Array]:
        """Outputs of one component by name; with `taps` also its inner tensors by their golden names.

        errors  InputError for inputs that the component does not take; BackendError, naming it, when the run fails
        """

    def unload(self, component: str) -> None:
        """Free what one component holds; its next run loads it again."""

    def close(self) -> None:
        """Free everything. The backend cannot run afterwards."""
