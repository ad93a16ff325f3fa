"""The safetensors files of a checkpoint directory: one, or the shards that an index lists."""

from __future__ import annotations

from pathlib import Path

from ..config.jsonfile import load_json
from ..errors import CheckpointError, ConfigError
from .safetensors import SafetensorsFile

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def open_files(directory: Path) -> list[SafetensorsFile]:
    """Every weights file of the checkpoint, its header checked.

    errors  CheckpointError when there is none, when index and shards disagree, or when a file is damaged or a pickle
    """
    if directory.is_file():
        SafetensorsFile(directory)  # says so when it is a pickle or damaged
        raise CheckpointError(f"{directory}: is a file; give the directory that holds it and its config.json")
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such directory; give a checkpoint directory or the name of a preset")
    single, index = directory / SINGLE, directory / INDEX
    if single.is_file() and index.is_file():
        raise CheckpointError(f"{directory}: holds both {SINGLE} and {INDEX}; remove the one that is out of date")
    if single.is_file():
        return [SafetensorsFile(single)]
    if index.is_file():
        return _shards(directory, index)
    pickles = sorted(path.name for path in directory.iterdir() if path.suffix in (".pth", ".pt", ".bin", ".ckpt"))
    if pickles:
        raise CheckpointError(
            f"{directory}: holds no {SINGLE}, only the pickle {pickles[0]}; "
            f"convert it with: spar-export convert {directory / pickles[0]} OUT"
        )
    raise CheckpointError(f"{directory}: holds neither {SINGLE} nor {INDEX}; give a checkpoint directory")


def _shards(directory: Path, index: Path) -> list[SafetensorsFile]:
    try:
        listed = load_json(index).get("weight_map")
    except ConfigError as error:
        raise CheckpointError(str(error)) from None
    if not isinstance(listed, dict) or not listed or not all(isinstance(shard, str) for shard in listed.values()):
        raise CheckpointError(f"{index}: weight_map must map tensor names to file names; download it again")
    files = []
    for shard in sorted(set(listed.values())):
        if Path(shard).name != shard or shard in (".", ".."):
            raise CheckpointError(f"{index}: names {shard!r}, which is not a file of this directory")
        if not (directory / shard).is_file():
            raise CheckpointError(f"{index}: names {shard!r}, which is missing; download it")
        files.append(SafetensorsFile(directory / shard))
    for file in files:
        promised = {name for name, shard in listed.items() if shard == file.path.name}
        if absent := sorted(promised - file.tensors.keys()):
            raise CheckpointError(
                f"{index}: says that {absent[0][:200]!r} is in {file.path.name}, which does not hold it"
                f"{_more(absent)}; download both again"
            )
        if extra := sorted(file.tensors.keys() - promised):
            raise CheckpointError(
                f"{file.path}: holds `{extra[0]}`, which {INDEX} does not place there"
                f"{_more(extra)}; download both again"
            )
    return files


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""
