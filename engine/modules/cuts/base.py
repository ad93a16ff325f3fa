"""What all cuts share: parameters by checkpoint name, strict loading, constants that can be prepared."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...errors import CheckpointError


class _NoDraws(TorchFunctionMode):
    """Skips the first values of new parameters: on the meta device there are none, yet drawing them takes seconds."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return function(*args, **kwargs)


@contextlib.contextmanager
def without_data() -> Iterator[None]:
    """Modules made inside have parameters on the meta device, to be filled by `load`."""
    with torch.device("meta"), _NoDraws():
        yield


class Weights(Protocol):
    """What loading needs of a checkpoint."""

    def f32(self, name: str) -> np.ndarray: ...


class Cut(nn.Module):
    """One component. Its parts hang below `model` (and `lm_head`), so that parameters have the checkpoint's names."""

    def names(self) -> list[str]:
        """Checkpoint tensors that this component reads."""
        return list(self.state_dict())


def below_model(**parts: nn.Module) -> nn.Module:
    """A module that only holds `parts`."""
    holder = nn.Module()
    for name, part in parts.items():
        holder.add_module(name, part)
    return holder


def keep(module: nn.Module, wanted: str) -> nn.Module:
    """`module` without the parameters whose name the pattern `wanted` does not find: they become None."""
    for name, _ in list(module.named_parameters()):
        if not re.search(wanted, name):
            owner, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(owner), leaf, None)
    return module


class Folding(nn.Module):
    """A module that reads constants made from its parameters."""

    def fold(self) -> dict[str, torch.Tensor]:
        """The constants, by name."""
        raise NotImplementedError

    def folded(self) -> dict[str, torch.Tensor]:
        """The prepared constants, or fresh ones when nothing was prepared."""
        names = self.__dict__.get("_prepared")
        return {name: getattr(self, f"folded_{name}") for name in names} if names else self.fold()

    def set_folded(self, constants: dict[str, torch.Tensor]) -> None:
        """Use `constants` from now on; none: compute them at each call."""
        for name in self.__dict__.get("_prepared", ()):
            delattr(self, f"folded_{name}")
        for name, value in constants.items():
            self.register_buffer(f"folded_{name}", value.detach(), persistent=False)
        self._prepared = tuple(constants)


Module = TypeVar("Module", bound=nn.Module)


def prepare(module: Module) -> Module:
    """Compute all constants of `module` once; `load` forgets them."""
    for part in module.modules():
        if isinstance(part, Folding):
            part.set_folded(part.fold())
    return module


def load(
    module: Module, checkpoint: Weights, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Module:
    """Fill every parameter of `module` from the checkpoint tensor of the same name, in `dtype` on `device`.

    A tensor of another shape than the parameter's: CheckpointError. Works for cuts and for the whole `Spar`.
    """
    tensors = {}
    for name, parameter in module.state_dict().items():
        array = checkpoint.f32(name)
        if array.shape != tuple(parameter.shape):
            raise CheckpointError(
                f"{name}: shape {list(array.shape)} does not fit the configuration, which needs {list(parameter.shape)}"
            )
        tensors[name] = torch.from_numpy(array).to(device=device, dtype=dtype)
    module.load_state_dict(tensors, strict=True, assign=True)
    for part in module.modules():
        if isinstance(part, Folding):
            part.set_folded({})
    return module
