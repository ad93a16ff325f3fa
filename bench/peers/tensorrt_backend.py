"""TensorRT as a backend of the engine: engines from the exported graphs, without kernels of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorrt as trt
import torch
from spar_engine.components import components
from spar_engine.errors import BackendError

from .exported import opened_graph

STAYS = frozenset(("keys", "values", "cross_keys", "cross_values"))
KINDS = {trt.float32: torch.float32, trt.int64: torch.int64, trt.bfloat16: torch.bfloat16, trt.float16: torch.float16}


class TensorRtBackend:
    """One engine for each component and set of shapes, built on first use; weakly typed, with the precision allowed."""

    def __init__(self, name: str, weights: Any, precision: str):
        self.name, self.precision, self.weights, self.config = name, precision, weights, weights.config
        self._specs, self._engines = components(weights.config), {}
        self._logger = trt.Logger(trt.Logger.ERROR)

    def load(self, component: str) -> str:
        """Path of the component's graph; engines need shapes and are built at the first run."""
        return str(opened_graph(self.weights, component))

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        spec = self._specs[component]
        given = {name: _on_gpu(inputs[name]) for name in spec.inputs}
        engine = self._engine(component, {name: tuple(value.shape) for name, value in given.items()})
        context, stream, results = engine.create_execution_context(), torch.cuda.current_stream(), {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                context.set_tensor_address(name, given[name].data_ptr())
            else:
                shape, kind = tuple(engine.get_tensor_shape(name)), KINDS[engine.get_tensor_dtype(name)]
                results[name] = torch.empty(shape, dtype=kind, device="cuda")
                context.set_tensor_address(name, results[name].data_ptr())
        if not context.execute_async_v3(stream.cuda_stream):
            raise BackendError(f"tensorrt: {component} failed to run")
        stream.synchronize()
        return {name: results[name] if name in STAYS else results[name].float().cpu().numpy() for name in spec.outputs}

    def _engine(self, component: str, shapes: dict[str, tuple[int, ...]]) -> Any:
        key = (component, *shapes.values())
        if key not in self._engines:
            builder = trt.Builder(self._logger)
            network = builder.create_network()
            parser = trt.OnnxParser(network, self._logger)
            if not parser.parse_from_file(self.load(component)):
                raise BackendError(f"tensorrt: {component}: {parser.get_error(0).desc()}")
            config, profile = builder.create_builder_config(), builder.create_optimization_profile()
            for index in range(network.num_inputs):
                name = network.get_input(index).name
                profile.set_shape(name, shapes[name], shapes[name], shapes[name])
            config.add_optimization_profile(profile)
            if self.precision != "fp32":
                config.set_flag({"bf16": trt.BuilderFlag.BF16, "fp16": trt.BuilderFlag.FP16}[self.precision])
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise BackendError(f"tensorrt: {component} cannot be built for {shapes}")
            self._engines[key] = trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        return self._engines[key]

    def unload(self, component: str) -> None:
        for key in [key for key in self._engines if key[0] == component]:
            del self._engines[key]

    def close(self) -> None:
        self._engines.clear()


def _on_gpu(value: Any) -> torch.Tensor:
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    return tensor.cuda()


def open_backend(name: str, precision: str, weights: Any, threads: int) -> TensorRtBackend:
    return TensorRtBackend(name, weights, precision)
