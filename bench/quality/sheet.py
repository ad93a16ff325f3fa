"""The contact sheet: what was drawn, under what was asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .evaluate import SHOWN, Sheet

MARGIN, LINE, TITLE = 8, 11, 90  # pixels


def wrapped(words: str, letters: int, lines: int) -> list[str]:
    """At most `lines` lines of about `letters` letters."""
    found = [""]
    for word in words.split():
        if found[-1] and len(found[-1]) + 1 + len(word) > letters:
            found.append("")
        found[-1] = f"{found[-1]} {word}".strip()
    return found[:lines]


def write_sheet(sheet: Sheet, path: Path) -> None:
    """One row a task: title, then up to SHOWN pictures with their captions."""
    from PIL import Image, ImageDraw

    side = max((p.shape[0] for _, row in sheet.rows for _, p in row), default=1)
    lines, step = 3, side + MARGIN
    height = side + MARGIN + lines * LINE
    canvas = Image.new("RGB", (TITLE + SHOWN * step + MARGIN, len(sheet.rows) * height + MARGIN), "white")
    pen = ImageDraw.Draw(canvas)
    for number, (title, row) in enumerate(sheet.rows):
        top = MARGIN + number * height
        pen.text((MARGIN, top), "\n".join(wrapped(title, 13, 3)), fill="black")
        for column, (caption, picture) in enumerate(row[:SHOWN]):
            left = TITLE + column * step
            canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), (left, top))
            pen.text((left, top + side + 1), "\n".join(wrapped(caption, side // 6, lines)), fill="black", spacing=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path, optimize=True)
