"""Reads a directory of artefacts. Nothing of it is used before it was compared with the manifest and the checkpoint.

Graphs are read once and hashed in memory, so that what was verified is what runs. Weights are verified tensor by
tensor; the digests are remembered in the user's cache with the device, inode, size and time of change of the file
(`weights.digest`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ArtefactError
from ..weights.safetensors import SafetensorsFile
from .manifest import Entry, read_manifest, rebuild
from .verify import Fault, check_source, open_weights, read_graph


class Artefacts:
    """The artefacts of one model.

    directory  with manifest.json
    weights    the model they are used for: a checkpoint or random weights
    errors     ArtefactError, with the command that makes them anew, for what is missing, edited, damaged, or made from
               other weights or another configuration
    """

    def __init__(self, directory: str | Path, weights: Any):
        self.directory, self.weights = Path(directory), weights
        self.manifest = read_manifest(self.directory)

    def graph(self, component: str, taps: bool = False) -> bytes:
        """The bytes of a component's ONNX file, with the taps as further outputs or without."""
        entry = self._entry(component)
        record = entry.taps if taps else entry.graph
        if record is None:
            raise self._refuse(component, "it was built without taps", "--taps")
        try:
            check_source(component, entry, self.weights)
            return read_graph(self.directory, record)
        except Fault as fault:
            raise self._refuse(component, str(fault)) from None

    def folder(self, component: str) -> Path:
        """The directory in which the graph finds its weights files, each of them verified."""
        folders = {file.path.parent for file in self.files(component).values()} or {self._base(component)}
        if len(folders) > 1:
            raise self._refuse(component, f"its weights lie in several directories, {sorted(map(str, folders))}")
        return folders.pop()

    def files(self, component: str) -> dict[str, SafetensorsFile]:
        """The weights files of a graph by the names that it gives them, opened once and verified since."""
        entry, base = self._entry(component), self._base(component)
        try:
            return {record.location: open_weights(base, record, entry.in_place) for record in entry.weights}
        except Fault as fault:
            raise self._refuse(component, str(fault)) from None

    def _base(self, component: str) -> Path:
        base = self.weights.directory if self._entry(component).in_place else self.directory
        if base is None:
            raise self._refuse(component, "it reads the files of a checkpoint, and these weights are in none")
        return Path(base)

    def _entry(self, component: str) -> Entry:
        if component not in self.manifest.components:
            raise self._refuse(component, "it is not there")
        return self.manifest.components[component]

    def _refuse(self, component: str, what: str, *options: str) -> ArtefactError:
        source = getattr(self.weights, "directory", None) or "CHECKPOINT"
        command = " ".join((rebuild(source, self.directory, component), *options))
        return ArtefactError(f"{self.directory}: component {component!r}: {what}; rebuild with: {command}")
