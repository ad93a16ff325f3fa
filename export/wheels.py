"""Wheels in pieces, for a machine that is offline and takes small files only.

`split` writes pieces, two lists of SHA-256 and join.sh, which needs nothing but a shell and coreutils: it checks the
pieces, puts the wheels together, and checks them. `join` does the same from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from spar_engine.errors import ArtefactError, InputError
from spar_engine.weights.writer import new_directory

MOST = 60 << 20
"""Bytes of a piece, unless told otherwise."""
PIECES, WHOLE = "pieces.sha256", "wheels.sha256"
_JOIN = """#!/bin/sh
# Checks the pieces in this folder, joins them to wheels, checks those. Then: pip install --no-index --find-links . NAME
set -eu
cd "$(dirname "$0")"
sha256sum --quiet -c {pieces}
while read -r sum name; do
  cat "$name".part-* > "$name.joining"
  mv "$name.joining" "$name"
done < {whole}
sha256sum -c {whole}
"""


def split(wheels: Iterable[str | Path], out: str | Path, most: int = MOST) -> list[Path]:
    """Write every wheel in pieces of at most `most` bytes to a new folder; the pieces.

    errors  InputError for a size below 1 MiB, a file that is no wheel, two of one name; CheckpointError where `out`
            cannot be made or is not empty
    """
    wheels = [Path(wheel) for wheel in wheels]
    if most < 1 << 20:
        raise InputError(f"pieces of {most} bytes are too small; at least {1 << 20}")
    for wheel in wheels:
        if wheel.suffix != ".whl" or not wheel.is_file():
            raise InputError(f"{wheel}: is not a wheel; get them with: pip download -d FOLDER NAME")
    if len({wheel.name for wheel in wheels}) < len(wheels):
        raise InputError("two of the wheels have the same name; keep one")
    with new_directory(out) as folder:
        pieces, sums, whole = [], [], []
        for wheel in wheels:
            total = hashlib.sha256()
            with wheel.open("rb") as file:
                for number in range(max(1, -(-wheel.stat().st_size // most))):
                    data = file.read(most)
                    total.update(data)
                    pieces.append(f"{wheel.name}.part-{number:03d}")
                    (folder / pieces[-1]).write_bytes(data)
                    sums.append(f"{hashlib.sha256(data).hexdigest()}  {pieces[-1]}\n")
            whole.append(f"{total.hexdigest()}  {wheel.name}\n")
        (folder / PIECES).write_text("".join(sums))
        (folder / WHOLE).write_text("".join(whole))
        (folder / "join.sh").write_text(_JOIN.format(pieces=PIECES, whole=WHOLE))
        (folder / "join.sh").chmod(0o755)
    return [Path(out) / piece for piece in pieces]


def join(folder: str | Path) -> list[Path]:
    """Put the wheels of a folder together again, each piece and each wheel verified; the wheels.

    errors  ArtefactError for a piece or list that is missing, damaged or foreign; then no wheel is left half-joined
    """
    folder = Path(folder)
    sums = _listed(folder, PIECES)
    made = []
    for name, want in _listed(folder, WHOLE).items():
        parts = sorted(piece for piece in sums if piece.startswith(f"{name}.part-"))
        aside, total = folder / f"{name}.joining", hashlib.sha256()
        try:
            with aside.open("wb") as file:
                for part in parts:
                    data = (folder / part).read_bytes()
                    if hashlib.sha256(data).hexdigest() != sums[part]:
                        raise ArtefactError(f"{folder / part}: is damaged; copy it again")
                    total.update(data)
                    file.write(data)
            if total.hexdigest() != want:
                raise ArtefactError(f"{folder / name}: its pieces are not all there; copy the folder again")
            aside.replace(folder / name)
        except OSError as error:
            raise ArtefactError(f"{folder}: {error.filename}: {error.strerror}; copy the folder again") from None
        finally:
            aside.unlink(missing_ok=True)
        made.append(folder / name)
    return made


def _listed(folder: Path, name: str) -> dict[str, str]:
    """File name -> SHA-256, as sha256sum writes them."""
    try:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ArtefactError(f"{folder}: {name} is missing or no text; copy the folder again") from None
    found = {}
    for line in lines:
        digest, separator, file = line.partition("  ")
        if not separator or len(digest) != 64 or file != Path(file).name:
            raise ArtefactError(f"{folder / name}: {line[:80]!r} is no checksum of a file; copy the folder again")
        found[file] = digest
    return found
