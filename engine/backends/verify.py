"""The checks between a manifest, the files it lists, and the model they are for. The reader refuses what fails; the
exporter makes it anew."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..weights.digest import tensor_digests
from ..weights.safetensors import SafetensorsFile
from .identity import spec_sha256
from .manifest import Entry, GraphFile, WeightsFile


class Fault(Exception):
    """What does not fit, in a few words."""


def weights_sha256(file: SafetensorsFile) -> str:
    """Digest of a safetensors file: names, types, shapes, places and values of its tensors."""
    digests = tensor_digests(file)
    lines = (f"{name} {info.dtype} {list(info.shape)} {info.begin} {digests[name]}\n"
             for name, info in file.tensors.items())  # fmt: skip
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_source(name: str, entry: Entry, weights: Any) -> None:
    """Fault unless component `name` was made from `weights` and their configuration."""
    if entry.spec != spec_sha256(name, weights.config):
        raise Fault("the configuration changed")
    try:
        source = weights.sha256(entry.parameters)
    except CheckpointError:
        source = None  # it reads parameters that this model does not have
    if entry.source != source:
        raise Fault("the weights changed")


def read_graph(directory: Path, record: GraphFile) -> bytes:
    """The bytes of a graph; Fault unless they are those that the manifest describes."""
    path = _inside(directory, record.file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Fault(f"{record.file} cannot be read ({error.strerror or error})") from None
    if len(data) != record.size or hashlib.sha256(data).hexdigest() != record.sha256:
        raise Fault(f"{record.file} is not the file that the manifest describes")
    return data


def find_weights(base: Path, record: WeightsFile, in_place: bool) -> Path:
    """Where a weights file really lies; Fault as of `open_weights`."""
    return open_weights(base, record, in_place).path


def open_weights(base: Path, record: WeightsFile, in_place: bool) -> SafetensorsFile:
    """A weights file, opened once and then verified; Fault unless it is the file that the manifest describes.

    base  the artefacts' directory, or the checkpoint's, whose files may be links, when they are used in place
    """
    path = (base / record.file).resolve() if in_place else _inside(base, record.file)
    if not path.is_file():
        raise Fault(f"{record.file} is missing")
    if path.name != record.location:
        raise Fault(f"{record.file} now lies in {path.name}, the graph reads {record.location}")
    changed = Fault(f"{record.file} is not the file that the manifest describes")
    if path.stat().st_size != record.size:
        raise changed
    try:
        file = SafetensorsFile(path)
        same = file.stat().st_size == record.size and weights_sha256(file) == record.sha256
    except CheckpointError as error:
        raise Fault(str(error)) from None
    if not same:
        raise changed
    return file


def _inside(directory: Path, name: str) -> Path:
    path = (directory / name).resolve()
    if path.parent != directory.resolve():
        raise Fault(f"{name} leads out of the directory, to {path}")
    return path
