"""Recompute a golden directory with one backend, and judge every tensor of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, SparError
from .compare import Row, compare, relative_rms
from .recompute import recipe
from .schedulers import recompute_scheduler
from .subject import Subject

Open = Callable[[str], Subject]  # position table -> a subject


def read_golden(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors of one golden file and its metadata entry `golden`."""
    from ..weights.safetensors import SafetensorsFile

    file = SafetensorsFile(path)
    try:
        meta = json.loads(file.metadata["golden"])
    except (KeyError, ValueError):
        raise InputError(f"{path}: metadata has no readable entry `golden`; this is not a golden file") from None
    return {name: np.array(file.raw(name)) for name in file.tensors}, meta


def read_tolerances(directory: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """file -> tensor -> record, from tolerances.json."""
    path = directory / "tolerances.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: not there; give a directory of golden vectors") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    return {file: entries for file, entries in found.items() if isinstance(entries, dict)}


def _reduced_limits(entries: dict[str, dict[str, Any]], tensor: str, floor: Callable[[], float]) -> Callable[[], float]:
    """Largest relative rms of a reduced-precision tensor: twice the original's in bfloat16, where it was measured."""
    known = entries[tensor].get("bf16_relative_rms") or entries.get("image_resized", {}).get("bf16_relative_rms")
    return (lambda: 2 * known) if known else floor


def examine(
    directory: Path, files: list[str] | None, subjects: Open, oracle: Open | None, precision: str
) -> Iterator[Row]:
    """Judge every tensor of a golden directory, file by file.

    files      names without ending, or None for all
    subjects   opens the backend under examination for a position table, "sincos" or "none"
    oracle     opens plain torch in bfloat16: twice its error is the limit of a reduced precision where the golden
               directory states none; None in fp32
    precision  of the backend
    """
    tolerances = read_tolerances(directory)
    unknown = sorted(set(files or ()) - set(tolerances))
    if unknown:
        raise InputError(f"{directory}: no golden files {unknown}; it has {sorted(tolerances)}")
    for file in files or tolerances:
        entries = {name: entry for name, entry in tolerances[file].items() if not name.startswith("in.")}
        if not (directory / f"{file}.safetensors").exists():
            yield from (_absent(file, name) for name in entries)
            continue
        golden, meta = read_golden(directory / f"{file}.safetensors")
        if "velocity" in meta:
            got = recompute_scheduler(golden, meta)
            yield from (_judge(file, name, got, golden, entries, None) for name in entries)
            continue
        make = recipe(file)
        trouble = "no recipe for this file" if make is None else ""
        got: dict[str, np.ndarray] = {}
        if make is not None:
            try:
                _values(make, golden, meta, entries, subjects, got)
            except SparError as error:
                trouble = str(error)
        plain: dict[str, np.ndarray] = {}

        def floor(name: str, make=make, golden=golden, meta=meta, entries=entries, plain=plain) -> float:
            """Twice plain torch's relative rms error in bfloat16."""
            if not plain:
                _values(make, golden, meta, entries, oracle, plain)
            return 2 * relative_rms(plain[name], golden[name])

        for name in entries:
            limit = (
                None
                if precision in ("fp32", "fp64")
                else _reduced_limits(entries, name, lambda name=name, floor=floor: floor(name))
            )
            row = _judge(file, name, got, golden, entries, limit)
            yield dataclasses.replace(row, detail=trouble) if trouble and name not in got else row


def _absent(file: str, name: str) -> Row:
    return Row(file, name, False, None, None, "absolute", "in tolerances.json, but not in the golden directory")


def _judge(
    file: str, name: str, got: dict[str, np.ndarray], golden: dict[str, np.ndarray],
    entries: dict[str, dict[str, Any]], limit: Callable[[], float] | None,
) -> Row:  # fmt: skip
    if name not in golden:
        return _absent(file, name)
    rows = entries[name].get("valid_rows")
    return compare(file, name, got.get(name), golden[name], entries[name], golden[rows] if rows else None, limit)


def _values(
    make: Any, golden: dict[str, np.ndarray], meta: dict[str, Any], entries: dict[str, Any], subjects: Open,
    got: dict[str, np.ndarray],
) -> None:  # fmt: skip
    """Put into `got` what the recipe yields and the file has, with and without position table where it has both."""
    wanted = ["sincos"] + (["none"] if any("without_pos_embed" in name for name in entries) else [])
    for position in wanted:
        for name, value in make(subjects(position), golden, meta):
            if name in entries:
                got[name] = value


def subject_for(open_weights: Callable[[str], Any], open_backend: Callable[[Any], Any]) -> Open:
    """Subjects over one checkpoint, one per position table, opened on first use.

    open_weights  position table -> weights;  open_backend  weights -> backend
    """
    from ..runtime.assemble import host_parts, open_tokenizer

    opened: dict[str, Subject] = {}

    def find(position: str) -> Subject:
        if position not in opened:
            weights = open_weights(position)
            opened[position] = Subject(weights.config, open_backend(weights), host_parts(weights),
                                       open_tokenizer(weights))  # fmt: skip
        return opened[position]

    return find
