"""The CUDA backend: torch modules with fused operators in place of what launches most, and graphs over all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import BackendError
from ..modules import cuts
from ..modules.fused.dit import FusedDit
from ..modules.tap import recording
from . import gpu
from .cuda_graph import Graphs
from .cuda_ops import operators
from .cuda_parts import FITS, Parts
from .cuda_picture import DevicePicture
from .cuda_sampler import Sampling, Shape
from .cuda_values import Buffers, OnDevice, host, on, padded
from .seam import STAYS
from .torch import TorchBackend

PRECISIONS = {"bf16": "bf16", "fp32": "fp32", "fp8": "bf16"}
EXACT = frozenset(("modulation",))
"""Components in float32 whatever the precision: small, once for each schedule, and every step reads what they give."""


class CudaBackend(TorchBackend):
    """Components on an NVIDIA GPU.

    weights    a checkpoint or random weights
    precision  "bf16"; "fp32"; "fp8": as bf16, with the DiT's products in e4m3 (a scale each row and each column)
    device     "cuda", "cuda:1" ...; "cpu" runs the same code without graphs, slowly, for tests
    kernels    "auto", "cuda", "triton" or "torch": which implementations of the fused operators may be used
    cubins     folder made by `python -m spar_export.triton_aot`; None: none
    graphs     how many captured graphs are kept, of the sampler and of each component beside it; 0 captures none
    bucket     prompts are padded to a multiple of so many tokens
    threads    of torch on the host; None leaves torch's setting
    """

    name = "cuda"
    offers = frozenset(("image",))  # what a pipeline may ask for instead of its single steps

    def __init__(
        self,
        weights: Any,
        *,
        precision: str = "bf16",
        device: str = "cuda",
        kernels: str = "auto",
        cubins: str | Path | None = None,
        graphs: int = 8,
        bucket: int = 32,
        threads: int | None = None,
    ):
        if precision not in PRECISIONS:
            raise BackendError(f"cuda: precision={precision!r} is unknown; it has {', '.join(PRECISIONS)}")
        for name, value, least in (("graphs", graphs, 0), ("bucket", bucket, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BackendError(f"cuda: {name}={value!r} must be a whole number of at least {least}")
        if device.startswith("cuda") and not torch.cuda.is_available():
            why = "shows no driver" if not gpu.present() else "has a driver, but this torch finds no device"
            raise BackendError(f"cuda: device={device!r} needs an NVIDIA GPU and torch for CUDA; this machine {why}; "
                               "use backend='native'")  # fmt: skip
        if precision == "fp8" and device.startswith("cuda"):
            found = torch.cuda.get_device_capability(device)
            if found < (8, 9):
                raise BackendError("cuda: precision='fp8' needs compute capability 8.9 or later; this GPU has "
                                   f"{found[0]}.{found[1]}; use precision='bf16'")  # fmt: skip
        super().__init__(weights, precision=PRECISIONS[precision], device=device, threads=threads)
        self.precision, self.bucket = precision, bucket
        self.ops, self.missing = operators(self.device, self._dtype, kernels, cubins)
        captured = graphs > 0 and self.device.type == "cuda"
        self._graphs = Graphs(captured, most=max(graphs, 1))
        self._parts = Parts(captured, max(graphs, 1), bucket)
        self._buffers = Buffers(self.device)
        self._sampling: Sampling | None = None

    def load(self, component: str) -> torch.nn.Module:
        """The module of one component, with the fused operators where it has use for them."""
        with self._lock:
            fresh = component not in self._modules
            module = super().load(component)
            if fresh:
                self._prepare(component, module)
            return module

    def unload(self, component: str) -> None:
        with self._lock:
            super().unload(component)
            self._parts.forget(component)
            if component in ("dit", "decoder"):
                self._forget()

    def close(self) -> None:
        with self._lock:
            self._forget()
            self._parts.clear()
            super().close()

    def run(self, component: str, inputs: dict[str, Any], taps: bool = False) -> dict[str, Any]:
        """Outputs of one component by name. `STAYS` are kept on the device: pass them on, or make arrays of them.

        "image" is a whole picture: the inputs of `dit` for one latent with the tables of all steps, and `table`
        [steps, 4] (sigma, a, b, c) and `guidance` [1]. With `taps` the inner tensors are those of the plain modules.
        """
        if component == "image":
            return self._whole(inputs)
        spec = self._specs[component]
        spec.check(inputs)
        if taps:
            plain = {name: np.asarray(value) for name, value in inputs.items()}
            return super().run(component, plain, taps=True) | self.run(component, inputs)
        if component == "dit":
            return self._step(inputs)
        module = self.load(component)
        with self._lock, on(self.device), torch.inference_mode():
            given = {name: self._on_device(component, inputs[name], tensor.exact)
                     for name, tensor in spec.inputs.items()}  # fmt: skip
            if component in FITS:
                outputs = self._parts.run(component, module, given, spec.outputs)
            else:
                outputs = dict(zip(spec.outputs, module(*given.values()), strict=True))
        return {name: OnDevice(value) if name in STAYS else self._from(value) for name, value in outputs.items()}

    def about(self) -> dict[str, Any]:
        """The device, which implementation answered each operator so far, which are not in use and why, graphs."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return {
            "device": name, "kernels": list(self.ops.implementations), "not_in_use": dict(self.missing),
            "answered": {op: sorted(names) for op, names in self.ops.used.items() if names},
            "graphs": self._graphs.made + self._parts.made if self._graphs.captured else 0, "bucket": self.bucket,
            "buffer_bytes": self._buffers.nbytes + self._parts.nbytes,
        }  # fmt: skip

    # -- inside

    def _prepare(self, component: str, module: torch.nn.Module) -> None:
        if component in EXACT:
            cuts.prepare(cuts.load(module, self.weights, dtype=torch.float32, device=self.device))
        if component == "condition" and module.routing:
            module.routed = self._routing(module)
        if component == "decoder":
            module.to(memory_format=torch.channels_last)
            for part in module.modules():
                if hasattr(part, "to_qkv_multiscale"):
                    part.core = self.ops.relu_linear_attention

    def _routing(self, module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        """The module's routing by the fused operator; its own form where inner tensors are looked at."""
        plain, arguments = module.routed, module.model.dynamic_router.arguments()

        def routed(levels: torch.Tensor) -> torch.Tensor:
            if recording():
                return plain(levels)
            return self.ops.dynamic_token_routing(levels.flatten(1, 2), *arguments).unflatten(0, levels.shape[1:3])

        return routed

    def _sampler(self) -> Sampling:
        if self._sampling is None:
            fused = FusedDit(self.load("dit"), self.ops, fp8=self.precision == "fp8")
            decoder = self.load("decoder")
            self._sampling = Sampling(fused, lambda latent: decoder(latent.to(self._dtype))[0],
                                      self.weights.config.latent_scale, self._buffers)  # fmt: skip
        return self._sampling

    def _step(self, inputs: dict[str, Any]) -> dict[str, Any]:
        with self._lock, on(self.device), torch.inference_mode():
            sampling, latent = self._sampler(), inputs["latent"]
            branches = np.asarray(inputs["branches"])
            tokens = padded(inputs["cross_keys"].shape[3], self.bucket)
            shape = Shape(len(latent), len(branches), tuple(latent.shape[2:]), tokens, 0, len(latent) == 1)
            if branches.min() < 0 or branches.max() >= len(latent):
                raise BackendError(f"cuda: branches={branches.tolist()} names latents that are not among the "
                                   f"{len(latent)} given")  # fmt: skip
            sampling.fill(shape, inputs)
            self._graphs.replay(shape, lambda: sampling.step(shape))
            # A copy: on a CPU the array would be the buffer itself, which the next step writes.
            return {"velocity": self._from(sampling.velocity(shape).clone())}

    def _whole(self, inputs: dict[str, Any]) -> dict[str, Any]:
        with self._lock, on(self.device), torch.inference_mode():
            sampling, latent = self._sampler(), inputs["latent"]
            tokens = padded(inputs["cross_keys"].shape[3], self.bucket)
            shape = Shape(1, len(inputs["lengths"]), tuple(latent.shape[2:]), tokens, len(inputs["table"]))
            sampling.fill(shape, inputs)
            self._graphs.replay(shape, lambda: sampling.whole(shape))
            scale = self.weights.config.decoder.upscale
            image = sampling.image(shape.grid[0] * scale, shape.grid[1] * scale)
            return {"image": DevicePicture(image.clone(), self.ops)}

    def _on_device(self, component: str, value: Any, exact: bool) -> torch.Tensor:
        dtype = torch.float32 if exact or component in EXACT else self._dtype
        if isinstance(value, OnDevice):
            return value.tensor.to(dtype)
        tensor = host(value).to(self.device, non_blocking=True)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    def _forget(self) -> None:
        self._graphs.clear()
        self._buffers.clear()
        self._sampling = None
