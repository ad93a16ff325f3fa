"""All five tasks in one go, written to a folder: `python -m spar_engine.demo [FOLDER]`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from .runtime.assemble import DEFAULT, load

PROMPTS = (
    "a red circle to the left of a blue square on a white background",
    "three yellow stars on a navy background",
    "a green triangle above a purple diamond, beige background",
    "a large pink cross on a gray background",
    "two orange squares and a cyan circle on a black background",
    "a blue star in the top left on a brown background",
)
INSTRUCTION = "change the color of the red circle to green"
QUESTION = "What color is the square?"


def grid(pictures: list[np.ndarray], columns: int, gap: int = 6) -> np.ndarray:
    """Pictures [h, w, 3] uint8 side by side on white, in rows of `columns`."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (gap + place * (size + gap) for place, size in
                     zip(divmod(number, columns), (height, width), strict=True))  # fmt: skip
        sheet[top : top + height, left : left + width] = picture
    return sheet


def run(source: str | Path, folder: Path, options: dict[str, Any]) -> None:
    """The five tasks on one model; writes pictures into `folder` and says what it does."""
    from .image import save_image

    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    engine = load(source, **options)
    about = engine.about
    print(f"{engine.config.name} on {about['backend']} in {about['precision']} ({about['reason']}), "
          f"loaded in {time.perf_counter() - start:.1f} s")  # fmt: skip

    drawn = [engine.generate(text, seed=number).pictures[0] for number, text in enumerate(PROMPTS[:1])]
    for number, text in enumerate(PROMPTS[1:], start=1):
        result = engine.generate(text, seed=number)
        drawn.append(result.pictures[0])
        print(f"  drew {text!r} in {result.timings['total']:.2f} s")
    save_image(grid([picture.pixels for picture in drawn], 3), folder / "grid.png", {"prompts": list(PROMPTS)})
    source_picture = drawn[0].pixels
    drawn[0].save(folder / "source.png")

    edited = engine.edit(source_picture, INSTRUCTION, seed=0)
    edited.pictures[0].save(folder / "edited.png")
    print(f"  edited: {INSTRUCTION} in {edited.timings['total']:.2f} s")
    answer = engine.ask(source_picture, QUESTION, max_new_tokens=16)
    (folder / "answer.txt").write_text(f"{QUESTION}\n{answer.text}\n", "utf-8")
    print(f"  asked: {QUESTION} {answer.text!r} in {answer.timings['total']:.2f} s")
    segments = engine.segment(source_picture)
    segments.picture.save(folder / "segments.png")
    print(f"  segmented: {len(segments.regions)} regions in {segments.timings['total']:.2f} s")
    again = engine.reconstruct(source_picture)
    again.pictures[0].save(folder / "reconstructed.png")
    print(f"  reconstructed in {again.timings['total']:.2f} s")
    engine.close()
    print(f"written to {folder}{os.sep}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spar_engine.demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("demo"), help="where to write (demo)")
    parser.add_argument("-m", "--model", default=DEFAULT, help="checkpoint (default: %(default)s)")
    parser.add_argument("-b", "--backend", default="auto")
    parser.add_argument("-p", "--precision", default="auto")
    arguments = parser.parse_args(argv)
    run(arguments.model, arguments.folder, {"backend": arguments.backend, "precision": arguments.precision})
    return 0


if __name__ == "__main__":
    sys.exit(main())
