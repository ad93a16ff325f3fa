"""Recompute a golden directory with one backend, and judge every tensor of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, SparError
from .compare import Row, compare, compare_tokens, relative_rms
from .recompute import recipe
from .schedulers import recompute_scheduler
from .subject import Subject

Open = Callable[[str], Subject]  # position table -> a subject
Entries = dict[str, dict[str, Any]]  # tensor -> its record in tolerances.json


def read_golden(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Tensors of one golden file and its metadata entry `golden`."""
    from ..weights.safetensors import SafetensorsFile

    file = SafetensorsFile(path)
    try:
        meta = json.loads(file.metadata["golden"])
    except (KeyError, ValueError):
        raise InputError(f"{path}: metadata has no readable entry `golden`; this is not a golden file") from None
    return {name: np.array(file.raw(name)) for name in file.tensors}, meta


def read_tolerances(directory: Path) -> dict[str, Entries]:
    """file -> tensor -> record, from tolerances.json."""
    path = directory / "tolerances.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: not there; give a directory of golden vectors") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    return {file: entries for file, entries in found.items() if isinstance(entries, dict)}


class Limits:
    """How far a reduced precision may be off, as a relative rms: twice what the original loses in bfloat16.

    Where the golden directory does not state that, plain torch in bfloat16 shows it.
    """

    def __init__(self, entries: Entries, golden: dict[str, np.ndarray], plain: Callable[[], dict[str, np.ndarray]]):
        self._entries, self._golden, self._plain = entries, golden, cache(plain)

    def __call__(self, tensor: str) -> float:
        if tensor == "image_uint8" and "image_resized" in self._entries:
            tensor = "image_resized"  # the same picture before it was rounded
        known = self._entries[tensor].get("bf16_relative_rms")
        return 2 * (known or relative_rms(self._plain()[tensor], self._golden[tensor]))


def examine(directory: Path, files: list[str] | None, subjects: Open, oracle: Open | None = None) -> Iterator[Row]:
    """Judge every tensor of a golden directory, file by file.

    files      names without ending, or None for all
    subjects   opens the backend under examination for a position table, "sincos" or "none"
    oracle     None for a backend in fp32. Else opens plain torch in bfloat16, and limits are those of `Limits`
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
        limits = None
        if oracle is not None:
            limits = Limits(entries, golden, partial(_values, make, golden, meta, entries, oracle))
        for name in entries:
            row = _judge(file, name, got, golden, entries, limits)
            yield dataclasses.replace(row, detail=trouble) if trouble and name not in got else row


def _absent(file: str, name: str) -> Row:
    return Row(file, name, False, None, None, "absolute", "in tolerances.json, but not in the golden directory")


def _judge(
    file: str,
    name: str,
    got: dict[str, np.ndarray],
    golden: dict[str, np.ndarray],
    entries: Entries,
    limits: Limits | None,
) -> Row:
    if name not in golden:
        return _absent(file, name)
    if limits is not None and name == "new_ids" and name in got:
        return compare_tokens(file, name, got[name], golden[name], golden["logits"], limits("logits"))
    rows = entries[name].get("valid_rows")
    limit = None if limits is None else partial(limits, name)
    return compare(file, name, got.get(name), golden[name], entries[name], golden[rows] if rows else None, limit)


def _values(
    make: Any,
    golden: dict[str, np.ndarray],
    meta: dict[str, Any],
    entries: Entries,
    subjects: Open,
    got: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    """What the recipe yields and the file has, also without the position table where the file has that.

    got  filled as values come, so that what was computed before an error is kept
    """
    got = {} if got is None else got
    wanted = ["sincos"] + (["none"] if any("without_pos_embed" in name for name in entries) else [])
    for position in wanted:
        for name, value in make(subjects(position), golden, meta):
            if name in entries:
                got[name] = value
    return got


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
