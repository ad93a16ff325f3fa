"""Reads a directory of plans. Nothing of it is used before it was compared with the manifest, the model and the GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...errors import ArtefactError
from ..manifest import GraphFile
from ..verify import Fault, read_graph
from .identity import configuration, weights_key
from .manifest import PlanEntry, component_of, read_plans, rebuild


class Plans:
    """The plans of one model.

    directory   with manifest.json
    weights     the model they are used for
    builder     name and version of the library that is going to run them
    capability  of the GPU, as sm86
    errors      ArtefactError, with the command that makes them anew, for what is missing, edited, damaged, or made from
                other weights, another configuration, by another version, or for other GPUs
    """

    def __init__(self, directory: str | Path, weights: Any, builder: str, capability: str):
        self.directory, self.weights, self.builder, self.capability = Path(directory), weights, builder, capability
        self.manifest = read_plans(self.directory)

    def entry(self, component: str) -> PlanEntry:
        """What the manifest says of a component; every reason to refuse it is looked at."""
        if component not in self.manifest.components:
            raise self._refuse(component, "there is no plan of it")
        entry = self.manifest.components[component]
        if entry.key.get("builder") != self.builder:
            raise self._refuse(component, f"it was built by {entry.key.get('builder')}, this is {self.builder}")
        if self.capability not in entry.gpu:
            raise self._refuse(component, f"it was built for {', '.join(entry.gpu)}, this GPU is {self.capability}",
                               f"--gpu {self.capability}")  # fmt: skip
        if entry.key.get("configuration") != configuration(component_of(component), self.weights.config):
            raise self._refuse(component, "the configuration changed")
        if entry.key.get("weights") != weights_key(self.weights, entry.parameters, entry.stripped):
            raise self._refuse(component, "the weights changed")
        return entry

    def plan(self, component: str, file: GraphFile) -> bytes:
        """The bytes of a file, hashed as they were read: what was verified is what is used. Links are not followed."""
        path = self.directory / file.file
        try:
            if os.path.islink(path):
                raise Fault(f"{file.file} is a link")
            return read_graph(self.directory, file)
        except Fault as fault:
            raise self._refuse(component, str(fault)) from None

    def _refuse(self, component: str, what: str, *options: str) -> ArtefactError:
        source = getattr(self.weights, "directory", None) or "CHECKPOINT"
        command = " ".join((rebuild(self.directory, component, source), *options))
        return ArtefactError(f"{self.directory}: component {component!r}: {what}; rebuild with: {command}")
