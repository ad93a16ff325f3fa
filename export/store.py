"""Where a graph finds its weights: in a safetensors file of its own, or in the checkpoint's files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto
from spar_engine.backends.manifest import WeightsFile
from spar_engine.backends.verify import weights_sha256
from spar_engine.errors import ArtefactError, CheckpointError
from spar_engine.weights import SafetensorsFile, TensorInfo, write_safetensors

VIEW = "|"
"""In the name of an initializer, between the parameter and the shape in which a graph reads it."""

ONNX_TYPE = {
    "F64": TensorProto.DOUBLE,
    "F32": TensorProto.FLOAT,
    "F16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "F8_E4M3": TensorProto.FLOAT8E4M3FN,
    "F8_E5M2": TensorProto.FLOAT8E5M2,
}
"""ONNX type of every stored type that a parameter may have."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Weights of one component on the disk."""

    places: dict[str, tuple[str, TensorInfo]]  # parameter -> location in the graph, and place in that file
    files: tuple[WeightsFile, ...]


def parameters(model: ModelProto) -> list[str]:
    """Names of the checkpoint tensors that a model reads."""
    return sorted({_parameter(tensor) for tensor in model.graph.initializer if not tensor.HasField("raw_data")})


def _parameter(tensor: TensorProto) -> str:
    """The checkpoint tensor behind an initializer; several may be views of one."""
    return tensor.name.partition(VIEW)[0]


def copy(path: Path, names: Iterable[str], weights: Any, written: Callable[[int], None]) -> Stored:
    """Write the parameters `names` to a new safetensors file, in their stored types.

    written  told the bytes of each tensor when it was written
    """

    def item(name: str) -> tuple:
        info = weights.info(name)

        def get():
            written(info.nbytes)
            return weights.raw(name)

        return name, info.dtype, info.shape, get

    try:
        write_safetensors(path, [item(name) for name in names], {"format": "pt"})
    except CheckpointError as error:
        raise ArtefactError(str(error)) from None
    return beside(path)


def beside(path: Path) -> Stored:
    """A file that `copy` wrote."""
    file = SafetensorsFile(path)
    record = WeightsFile(path.name, path.name, path.stat().st_size, weights_sha256(file))
    return Stored({name: (path.name, info) for name, info in file.tensors.items()}, (record,))


def in_place(names: Iterable[str], weights: Any) -> Stored:
    """The checkpoint's own files. A file that is a link goes by the name of what it points to.

    errors  ArtefactError when the weights are not in files, or a parameter is not one tensor of one file
    """
    places, files = {}, {}
    for name in names:
        place = weights.place(name) if weights.directory is not None and hasattr(weights, "place") else None
        if place is None:
            raise ArtefactError(f"`{name}` is not stored as one tensor of the checkpoint; leave out --in-place")
        path, info = place
        places[name] = path.resolve().name, info
        files[path.name] = path
    if len({path.resolve().parent for path in files.values()}) > 1:
        raise ArtefactError(f"{weights.directory}: its files lie in several directories; leave out --in-place")
    records = (
        WeightsFile(name, path.resolve().name, path.stat().st_size, weights_sha256(SafetensorsFile(path)))
        for name, path in sorted(files.items())
    )
    return Stored(places, tuple(records))


def attach(model: ModelProto, stored: Stored) -> None:
    """Make the parameters of `model` point to their values on the disk."""
    for tensor in model.graph.initializer:
        if not tensor.HasField("raw_data"):
            location, info = stored.places[_parameter(tensor)]
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", location), ("offset", info.begin), ("length", info.nbytes)):
                tensor.external_data.add(key=key, value=str(value))
