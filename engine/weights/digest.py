"""SHA-256 of every tensor of a file, remembered in the user's cache until the file changes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from .safetensors import SafetensorsFile

_CHUNK = 1 << 24
_SETTLED = 2.0  # seconds; a file changed more recently than this may change again within one tick of its clock


def cache_directory() -> Path:
    """Where this package keeps what it can make again: $SPAR_CACHE, else spar-engine in the user's cache directory."""
    if own := os.environ.get("SPAR_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "spar-engine"


def tensor_digests(file: SafetensorsFile) -> dict[str, str]:
    """Tensor name -> SHA-256 of its bytes, in hex.

    The whole file is read once; the result is kept with the file's device, inode, size and time of change, and used
    only while all four are the same. A cache that cannot be written costs time, never correctness."""
    identity = _identity(file)
    place = cache_directory() / "digests" / f"{hashlib.sha256(str(file.path.resolve()).encode()).hexdigest()[:32]}.json"
    known = _load(place)
    kept = known.get("tensors")
    if known.get("file") == identity and isinstance(kept, dict) and kept.keys() == file.tensors.keys():
        return kept
    found = {name: _digest(file, name) for name in file.tensors}
    if _identity(file) == identity and time.time() - identity["changed"] / 1e9 > _SETTLED:
        _save(place, {"file": identity, "tensors": found})
    return found


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file, remembered like those of tensors; OSError where it cannot be read."""
    identity = _identity(path)
    place = cache_directory() / "digests" / f"{hashlib.sha256(f'file {path.resolve()}'.encode()).hexdigest()[:32]}.json"
    known = _load(place)
    if known.get("file") == identity and isinstance(known.get("sha256"), str):
        return known["sha256"]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if _identity(path) == identity and time.time() - identity["changed"] / 1e9 > _SETTLED:
        _save(place, {"file": identity, "sha256": found})
    return found


def _identity(file: SafetensorsFile | Path) -> dict[str, int]:
    """Of an opened file, or of what lies under a name now."""
    stat = file.stat()
    changed = max(stat.st_mtime_ns, stat.st_ctime_ns)
    return {"device": stat.st_dev, "inode": stat.st_ino, "size": stat.st_size, "changed": changed}


def _digest(file: SafetensorsFile, name: str) -> str:
    made = hashlib.sha256()
    data = file.raw(name).reshape(-1).view("u1")
    for start in range(0, len(data), _CHUNK):
        made.update(data[start : start + _CHUNK])
    file.release(name)
    return made.hexdigest()


def _load(place: Path) -> dict:
    """What was kept; nothing where it is missing or damaged."""
    try:
        check, text = place.read_text().split("\n", 1)
        found = json.loads(text) if check == _check(text) else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _save(place: Path, content: dict) -> None:
    aside = place.with_suffix(f".{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(content)
        aside.write_text(f"{_check(text)}\n{text}")
        aside.replace(place)
    except OSError:
        with suppress(OSError):
            aside.unlink()
