"""OpenVINO as a backend of the engine, over the exported graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
from spar_engine.components import components

from .exported import opened_graph
from .openvino_peer import compressed, core, settings

EXACT = frozenset(("modulation",))  # sines of timesteps up to 1000 are lost in bf16; it runs once a schedule
GROWING = frozenset(("language",))  # another length at every token: compiled for any length


class OpenVinoBackend:
    """One compiled model for each component and set of shapes; `int8` has its weights compressed by NNCF."""

    def __init__(self, name: str, weights: Any, precision: str, threads: int):
        self.name, self.precision, self.weights, self.config = name, precision, weights, weights.config
        self.threads, self._specs = threads, components(weights.config)
        self._requests: dict[tuple[Any, ...], ov.InferRequest] = {}
        self._taken: dict[str, set[str]] = {}  # inputs that a component's graph really has

    def load(self, component: str) -> ov.Model:
        """The component's graph with its weights, shapes still open."""
        path = opened_graph(self.weights, component)
        model = core().read_model(path)
        if self.precision == "int8" and component not in EXACT:
            model = compressed(model)
        return model

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        spec = self._specs[component]
        given = {name: np.ascontiguousarray(inputs[name]) for name in spec.inputs}
        request = self._request(component, given)
        results = request.infer({name: value for name, value in given.items() if name in self._taken[component]},
                                share_inputs=True, share_outputs=False)  # fmt: skip
        return {name: results[name] for name in spec.outputs}

    def _request(self, component: str, given: dict[str, Any]) -> ov.InferRequest:
        shapes = {name: tuple(value.shape) for name, value in given.items()}
        key = (component,) if component in GROWING else (component, *shapes.values())
        if key not in self._requests:
            model = self.load(component)
            names = {port.any_name for port in model.inputs}
            if component not in GROWING:
                model.reshape({name: shape for name, shape in shapes.items() if name in names})
            chosen = settings("fp32" if component in EXACT else self.precision, self.threads)
            self._requests[key] = core().compile_model(model, "CPU", chosen).create_infer_request()
            self._taken[component] = names
        return self._requests[key]

    def unload(self, component: str) -> None:
        for key in [key for key in self._requests if key[0] == component]:
            del self._requests[key]

    def close(self) -> None:
        self._requests.clear()


def open_backend(name: str, precision: str, weights: Any, threads: int) -> OpenVinoBackend:
    return OpenVinoBackend(name, weights, precision, threads)
