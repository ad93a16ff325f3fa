"""manifest.json of a directory of artefacts: what each component was made from. See docs/artefacts.md."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from ..errors import ArtefactError

FILE, FORMAT = "manifest.json", "spar-artefacts 1"


@dataclass(frozen=True, slots=True)
class GraphFile:
    """An ONNX file beside the manifest."""

    file: str
    size: int
    sha256: str  # of the file


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A safetensors file that the graph reads: beside the manifest, or the checkpoint's own."""

    file: str
    location: str  # the name that the graph gives it; another one where the checkpoint's file is a link
    size: int
    sha256: str  # of its header and of the digests of its tensors


@dataclass(frozen=True, slots=True)
class Entry:
    """One component. Every text that is not a name is a SHA-256."""

    graph: GraphFile
    taps: GraphFile | None  # the same graph with its inner tensors as further outputs
    weights: tuple[WeightsFile, ...]
    in_place: bool  # the weights are the checkpoint's own files
    parameters: tuple[str, ...]  # checkpoint tensors that the graph reads
    source: str  # those tensors: names, types, shapes and values
    spec: str  # inputs, outputs, ranges and the configuration behind them
    recipe: str  # the code that made the graph
    versions: dict[str, str]  # of torch, onnx and the opset


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a directory holds."""

    model: str = ""
    components: dict[str, Entry] = field(default_factory=dict)

    def dumps(self) -> str:
        """The text of manifest.json; the same for the same content."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, indent=1, sort_keys=True) + "\n"


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a directory.

    errors  ArtefactError when it is missing, damaged, of another format, or names a file outside the directory
    """
    path = directory / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtefactError(
            f"{directory}: holds no {FILE}; make one with: {rebuild('CHECKPOINT', directory)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot be read ({error}); {remedy(directory)}") from None
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        manifest = from_json(Manifest, values, "manifest")
        _check(manifest)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: {str(error).splitlines()[0]}; {remedy(directory)}") from None
    return manifest


def rebuild(source: object, directory: object, *components: str) -> str:
    """The command that makes artefacts."""
    return " ".join(["spar-export onnx", str(source), str(directory)]
                    + (["--components", ",".join(components)] if components else []))  # fmt: skip


def remedy(directory: Path, *components: str) -> str:
    return f"rebuild with: {rebuild('CHECKPOINT', directory, *components)}"


def is_plain_name(name: str) -> bool:
    """Whether `name` is that of a visible file in a directory, and no path."""
    return bool(name) and name == Path(name).name and not name.startswith(".") and "\\" not in name and "\0" not in name


def _check(manifest: Manifest) -> None:
    for name, entry in manifest.components.items():
        files = [entry.graph, *entry.weights] + ([entry.taps] if entry.taps else [])
        names = [file.file for file in files] + [file.location for file in entry.weights]
        for file in names:
            if not is_plain_name(file):
                raise ValueError(f"component {name!r} names {file!r}, which is not a file of this directory")


def from_json(kind: Any, value: Any, where: str) -> Any:
    """`value`, from JSON, as the annotation `kind` wants it; ValueError says where it does not fit."""
    if dataclasses.is_dataclass(kind):
        fields = {field.name: field for field in dataclasses.fields(kind)}
        if not isinstance(value, dict) or value.keys() != fields.keys():
            raise ValueError(f"{where} must have exactly the fields {sorted(fields)}")
        hints = get_type_hints(kind)
        return kind(**{name: from_json(hints[name], item, f"{where}.{name}") for name, item in value.items()})
    origin, arguments = getattr(kind, "__origin__", None), getattr(kind, "__args__", ())
    if origin is None and len(arguments) == 2:  # X | None
        return None if value is None else from_json(arguments[0], value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(from_json(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: from_json(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is not None or type(value) is not kind:
        raise ValueError(f"{where} is not of type {getattr(kind, '__name__', kind)}")
    return value
