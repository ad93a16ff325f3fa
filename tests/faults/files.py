"""One bit flipped somewhere in a file, then the model opened and used as after a restart."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from spar_engine.backends.artefacts import Artefacts
from spar_engine.backends.native import NativeBackend
from spar_engine.components import components
from spar_engine.errors import SparError
from spar_engine.weights import Checkpoint
from spar_engine.weights.digest import cache_directory, tensor_digests
from spar_engine.weights.safetensors import SafetensorsFile

COMPONENT = "lm_head"
SETTLED = 2.5  # seconds
PACKED_HEADER, HEADER = 64, 4096  # bytes at the beginning of a file that half of the flips go to


class Flips:
    """Trials on every kind of file that is read back.

    packed      packed weights of the native backend: the component is run
    digests     remembered digests of a checkpoint's tensors
    manifest, graph, weights  artefacts: what the reader hands to ONNX Runtime is compared, byte for byte
    header      of model.safetensors: the checkpoint is opened and compared with what was opened before
    """

    def __init__(self, checkpoint: Path, artefacts: Path | None, folder: Path, rng: np.random.Generator):
        self.rng, self.folder = rng, folder
        folder.mkdir(parents=True)
        self.model = folder / "checkpoint"
        shutil.copytree(checkpoint, self.model)
        self.weights = Checkpoint.open(self.model)
        self.inputs = components(self.weights.config)[COMPONENT].example(np.random.default_rng(1))
        self.wanted = self._run()
        self.kinds: dict[str, Callable[[], str]] = {
            "packed": self._packed, "digests": self._digests, "header": self._header,
        }  # fmt: skip
        if artefacts is not None:
            self.artefacts = folder / "artefacts"
            shutil.copytree(artefacts, self.artefacts)
            read = Artefacts(self.artefacts, self.weights)
            self.graph = read.graph(COMPONENT)
            self.files = {name: file.content().tobytes() for name, file in read.files(COMPONENT).items()}
            self.kinds |= {"manifest": self._manifest, "graph": self._graph, "weights": self._weights}

    def run(self, trials: int, count: Callable[[str, str], None]) -> None:
        for number in range(trials):
            kind = list(self.kinds)[number % len(self.kinds)]
            count(kind, self.kinds[kind]())

    def _flipped(self, path: Path, use: Callable[[], str], most: int | None = None, head: int = HEADER) -> str:
        """Outcome of `use` with one bit of the first `most` bytes changed; the file is as before afterwards."""
        whole = path.read_bytes()
        size = min(len(whole), most or len(whole))
        if self.rng.random() < 0.5:
            size = min(size, head)
        place, bit = int(self.rng.integers(size)), 1 << int(self.rng.integers(8))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            outcome = use()
            remade = path.read_bytes() == whole
        except SparError:
            return "refused"
        except Exception as error:
            return f"failed: bit {bit} of byte {place} of {path.name}: {type(error).__name__}: {error}"
        finally:
            path.write_bytes(whole)
        if outcome:
            return f"failed: bit {bit} of byte {place} of {path.name}: {outcome}"
        return "remade" if remade else "harmless"

    def _run(self, cache: Path | None = None) -> np.ndarray:
        backend = NativeBackend(self.weights, precision="bf16", threads=1, packed_cache=cache)
        return backend.run(COMPONENT, self.inputs)["logits"]

    def _packed(self) -> str:
        cache = self.folder / "packed"
        self._run(cache)
        (path,) = cache.iterdir()

        def use() -> str:
            return "" if np.array_equal(self._run(cache), self.wanted) else "a wrong result"

        return self._flipped(path, use, head=PACKED_HEADER)

    def _digests(self) -> str:
        path = self.folder / "digests.safetensors"
        if not path.exists():
            shutil.copy(self.model / "model.safetensors", path)
            time.sleep(SETTLED)  # digests of a file that has just changed are not kept
        file = SafetensorsFile(path)
        wanted = tensor_digests(file)
        name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
        kept = cache_directory() / "digests" / f"{name}.json"
        return self._flipped(kept, lambda: "" if tensor_digests(file) == wanted else "a wrong digest")

    def _header(self) -> str:
        path = self.model / "model.safetensors"

        def reads(model: Checkpoint) -> tuple:
            return model.config, {name: model.place(name) for name in model.names()}

        def use() -> str:
            return "" if reads(Checkpoint.open(self.model)) == reads(self.weights) else "another model was read"

        return self._flipped(path, use, 8 + int.from_bytes(path.read_bytes()[:8], "little"))

    def _manifest(self) -> str:
        return self._flipped(self.artefacts / "manifest.json", self._read)

    def _graph(self) -> str:
        entry = json.loads((self.artefacts / "manifest.json").read_text())["components"][COMPONENT]
        return self._flipped(self.artefacts / entry["graph"]["file"], self._read)

    def _weights(self) -> str:
        entry = json.loads((self.artefacts / "manifest.json").read_text())["components"][COMPONENT]
        base = self.model if entry["in_place"] else self.artefacts
        return self._flipped(base / entry["weights"][0]["file"], self._read)

    def _read(self) -> str:
        read = Artefacts(self.artefacts, Checkpoint.open(self.model))
        if read.graph(COMPONENT) != self.graph:
            return "another graph was read"
        found = {name: file.content().tobytes() for name, file in read.files(COMPONENT).items()}
        return "" if found == self.files else "other weights were read"
