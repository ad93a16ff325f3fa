"""A small stand-in for the tensorrt package and for a GPU: engines are Python functions, memory is the host's.

A plan is JSON: its inputs and outputs with types, its profiles, its weights, and the name of what it computes.
"""

from __future__ import annotations

import ctypes
import enum
import json
import threading
from types import SimpleNamespace

import numpy as np
from spar_engine.backends.plans.lane import OnDevice
from spar_engine.oracle.dynamic_token_routing import dynamic_token_routing as oracle_routing
from spar_engine.weights.dtypes import to_bf16, to_f32


class DataType(enum.Enum):
    FLOAT, HALF, BF16, FP8, INT64, INT32, BOOL = range(7)


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = range(2)


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = range(3)


class TensorLocation(enum.Enum):
    DEVICE, HOST = range(2)


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, USER_MANAGED = range(2)


STORED = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.BF16: np.uint16, DataType.INT64: np.int64}


class FakeDevice:
    """Host memory with the interface of a GPU; counts what it does."""

    def __init__(self, capability="sm86"):
        self.capability, self.live, self.entered = capability, {}, 0
        self.launched, self.captured, self.recording, self.graphs = 0, 0, None, {}
        self._lock = threading.Lock()

    def enter(self):
        self.entered += 1

    def allocate(self, size):
        block = ctypes.create_string_buffer(max(size, 1))
        with self._lock:
            self.live[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, address):
        del self.live[address]

    def copy_in(self, address, array, stream):
        assert array.flags.c_contiguous
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def copy_out(self, array, address, stream):
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def copy(self, to, address, size, stream):
        ctypes.memmove(to, address, size)

    def stream(self):
        return 7

    def end_stream(self, stream):
        assert stream == 7

    def wait(self, stream):
        assert stream in (0, 7)

    def capture(self, stream, work):
        self.recording = []
        work()
        self.captured += 1
        self.graphs[self.captured], self.recording = self.recording, None
        return self.captured

    def launch(self, graph, stream):
        self.launched += 1
        for work in self.graphs[graph]:
            work()

    def end_graph(self, graph):
        del self.graphs[graph]


def view(address, shape, kind):
    """The array that lies at an address."""
    count = int(np.prod(shape, dtype=np.int64))
    raw = (ctypes.c_char * (count * np.dtype(kind).itemsize)).from_address(address)
    return np.frombuffer(raw, kind, count).reshape(shape)


def there(device, array):
    """A value as a run leaves it on the GPU."""
    made = OnDevice(device, device.allocate(array.nbytes), array.shape, array.dtype)
    device.copy_in(made.address, array, 0)
    return made


def kernels(device):
    """A module like `spar_engine._cuda`: launches go where those of engines go, and compute what the oracles say."""

    def array(tensor):
        about = tensor.__cuda_array_interface__
        return view(about["data"][0], about["shape"], np.dtype(about["typestr"]))

    def wide(tensor):
        found = array(tensor)
        return to_f32(found, "BF16") if found.dtype == np.uint16 else found.copy()

    def put(work):
        (device.recording.append if device.recording is not None else lambda run: run())(work)

    def dynamic_token_routing(*, routed, workspace, stream, temperature, **given):
        assert stream == 7
        assert workspace.nbytes >= dynamic_token_routing_workspace(0, 0, 0)

        def work():
            found = oracle_routing(**{name: wide(one) for name, one in given.items()}, temperature=temperature)
            array(routed)[...] = to_bf16(found.astype(np.float32))

        put(work)

    def dynamic_token_routing_workspace(tokens, hidden, depth):
        return 64

    def guide_and_step(*, velocity, guidance, table, step, latent, out, data, stream):
        assert stream == 7

        def work():
            found, scale = wide(velocity), wide(guidance)[:, None]
            sigma, a, b, c = wide(table)[step]
            v = found[0] + scale * (found[1] - found[0]) if len(found) == 2 else found[0]
            now, before = wide(latent), wide(data)
            data_now = now - sigma * v
            array(out)[...] = a * now + b * data_now + (c * before if c else 0)
            array(data)[...] = data_now

        put(work)

    return SimpleNamespace(
        dynamic_token_routing=dynamic_token_routing, guide_and_step=guide_and_step,
        dynamic_token_routing_workspace=dynamic_token_routing_workspace,
    )  # fmt: skip


def package(device, functions):
    """A module like `tensorrt`.

    functions  name -> function(inputs, weights) -> outputs, all dicts of arrays as they lie in memory
    """

    class Context:
        def __init__(self, engine, config):
            assert config.strategy is ExecutionContextAllocationStrategy.USER_MANAGED
            assert config.cache is engine.cache
            assert config.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
            module.contexts += 1
            self.engine, self.shapes, self.addresses, self.memory = engine, {}, {}, None
            self.active_optimization_profile = 0

        def set_device_memory(self, address, size):
            assert size >= self.engine.device_memory_size_v2
            self.memory = address

        def set_optimization_profile_async(self, index, stream):
            self.active_optimization_profile = index

        def set_input_shape(self, name, shape):
            self.shapes[name] = tuple(shape)
            return len(shape) == len(self.engine.about["inputs"][name]["shape"])

        def get_tensor_shape(self, name):
            axes = {}
            for given, shape in self.shapes.items():
                axes |= dict(zip(self.engine.about["inputs"][given]["shape"], shape, strict=True))
            return [axes.get(axis, axis) for axis in self.engine.about["outputs"][name]["shape"]]

        def set_tensor_address(self, name, address):
            self.addresses[name] = address

        def is_stream_capturable(self, stream):
            return module.capturable

        def execute_async_v3(self, stream):
            about, addresses, shapes = self.engine.about, dict(self.addresses), dict(self.shapes)
            places = {name: self.get_tensor_shape(name) for name in about["outputs"]}

            def work():
                kinds = {name: STORED[DataType[io["type"]]] for part in ("inputs", "outputs")
                         for name, io in about[part].items()}  # fmt: skip
                given = {name: view(addresses[name], shapes[name], kinds[name]) for name in about["inputs"]}
                for name, array in functions[about["computes"]](given, self.engine.weights).items():
                    view(addresses[name], places[name], kinds[name])[...] = array

            (device.recording.append if device.recording is not None else lambda run: run())(work)
            return True

    class Engine:
        def __init__(self, about):
            self.about, self.weights, self.cache = about, {}, None
            self.device_memory_size_v2 = about["scratch"]
            self.num_io_tensors = len(about["inputs"]) + len(about["outputs"])
            self.num_optimization_profiles = len(about["profiles"])

        def get_tensor_name(self, index):
            return [*self.about["inputs"], *self.about["outputs"]][index]

        def get_tensor_dtype(self, name):
            return DataType[(self.about["inputs"] | self.about["outputs"])[name]["type"]]

        def get_tensor_mode(self, name):
            return TensorIOMode.INPUT if name in self.about["inputs"] else TensorIOMode.OUTPUT

        def get_tensor_profile_shape(self, name, index):
            return [tuple(shape) for shape in self.about["profiles"][index][name]]

        def create_runtime_config(self):
            def create():
                assert self.cache is None, "one cache for all contexts of an engine"
                self.cache = object()
                return self.cache

            config = SimpleNamespace(cache=None, strategy=None, create_runtime_cache=create)
            config.set_execution_context_allocation_strategy = lambda strategy: setattr(config, "strategy", strategy)
            config.set_runtime_cache = lambda cache: setattr(config, "cache", cache)
            return config

        def create_execution_context(self, config):
            return Context(self, config)

    class Runtime:
        def __init__(self, logger):
            self.engine_host_code_allowed = True

        def deserialize_cuda_engine(self, plan):
            assert not self.engine_host_code_allowed
            module.deserialized.append(bytes(plan))
            try:
                return Engine(json.loads(plan))
            except ValueError:
                return None

    class Refitter:
        def __init__(self, engine, logger):
            self.engine, self.given = engine, {}

        def get_all_weights(self):
            return list(self.engine.about["weights"])

        def set_named_weights(self, name, weights, location):
            assert location is TensorLocation.DEVICE
            assert weights.address in device.live
            if self.engine.about["weights"][name] != weights.count:
                return False
            self.given[name] = weights
            return True

        def get_missing_weights(self):
            return [name for name in self.engine.about["weights"] if name not in self.given]

        def refit_cuda_engine_async(self, stream):
            assert stream == 7
            self.engine.weights = {name: view(w.address, (w.count,), STORED[w.kind]).copy()
                                   for name, w in self.given.items()}  # fmt: skip
            return True

    def logger(severity):
        return SimpleNamespace(severity=severity)

    logger.ERROR = 1
    module = SimpleNamespace(
        __name__="tensorrt_rtx", __version__="0.0", DataType=DataType, Runtime=Runtime, Refitter=Refitter,
        DynamicShapesKernelSpecializationStrategy=DynamicShapesKernelSpecializationStrategy,
        contexts=0, capturable=True,
        Logger=logger, TensorLocation=TensorLocation, TensorIOMode=TensorIOMode,
        ExecutionContextAllocationStrategy=ExecutionContextAllocationStrategy, deserialized=[],
        Weights=lambda kind, address, count: SimpleNamespace(kind=kind, address=address, count=count),
    )  # fmt: skip
    return module
