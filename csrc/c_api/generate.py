"""Writes tables/*.h: what the C library knows of Unicode, of configuration keys and of the published models.

    python csrc/c_api/generate.py [FOLDER]

The classes of characters are those of the regular expressions of the package `tokenizers`, asked for every code point;
compositions and combining classes are those of Python's `unicodedata`, restricted to what the package composes too.
tests/c_api/test_tables.py makes them anew and compares.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from spar_engine.config import known, read
from spar_engine.config.preset import preset
from spar_engine.config.serial import to_dict

FOLDER = Path(__file__).parent / "tables"
HEAD = "// Made by csrc/c_api/generate.py. Not to be edited.\n#pragma once\n\n"
POINTS = [point for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


def ranges(points: Iterable[int]) -> list[tuple[int, int]]:
    """Rising code points as (first, last) pairs."""
    found: list[tuple[int, int]] = []
    for point in points:
        if found and found[-1][1] == point - 1:
            found[-1] = found[-1][0], point
        else:
            found.append((point, point))
    return found


def rows(items: Iterable[str], width: int = 118) -> str:
    """Items with commas between, in lines."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > width:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def table(kind: str, name: str, items: Iterable[str]) -> str:
    return f"inline constexpr {kind} {name}[] = {{\n{rows(items)}\n}};\n\n"


def members(pattern: str) -> list[int]:
    """Code points that a class of the package's regular expressions holds."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    split = Split(Regex(pattern), "removed")
    found = []
    for start in range(0, len(POINTS), 4096):  # what is left of a text after the class was taken out
        block = POINTS[start : start + 4096]
        kept = {ord(character) for piece, _ in split.pre_tokenize_str("".join(map(chr, block))) for character in piece}
        found += [point for point in block if point not in kept]
    return found


def normalised() -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int]]]:
    """Canonical decompositions (code point, first, second or 0, whether both compose again), and combining classes."""
    from tokenizers.normalizers import NFC, NFD

    nfc, nfd = NFC(), NFD()
    pieces = []
    for point in POINTS:
        text = unicodedata.decomposition(chr(point))
        if not text or text.startswith("<") or nfd.normalize_str(chr(point)) == chr(point):
            continue
        first, second = ([int(part, 16) for part in text.split()] + [0])[:2]
        composes = bool(second) and nfc.normalize_str(chr(first) + chr(second)) == chr(point)
        pieces.append((point, first, second, int(composes)))
    classes: dict[int, list[int]] = {}
    for point in POINTS:
        mark, number = chr(point), unicodedata.combining(chr(point))
        # A mark that the package knows changes places with one of a class on the other side of its own.
        apart = f"a\u0301{mark}" if number < 230 else f"a{mark}\u0316"
        if number and nfd.normalize_str(apart) != apart:
            classes.setdefault(number, []).append(point)
    runs = [(first, last, number) for number, points in classes.items() for first, last in ranges(points)]
    return pieces, sorted(runs)


def unicode_table() -> str:
    pieces, classes = normalised()
    spans = {name: ranges(members(pattern)) for name, pattern in
             (("kLetters", r"\p{L}"), ("kNumbers", r"\p{N}"), ("kSpaces", r"\s"))}  # fmt: skip
    text = f"{HEAD}// Unicode {unicodedata.unidata_version} for compositions and combining classes.\n\n"
    text += "namespace spar::c_api {\n\n"
    text += "struct Span {\n  char32_t first, last;\n};\n"
    text += "struct Decomposition {\n  char32_t whole, first, second;  // second 0: none\n  bool composes;\n};\n"
    text += "struct CombiningSpan {\n  char32_t first, last;\n  int number;\n};\n\n"
    for name, found in spans.items():
        text += table("Span", name, (f"{{{first:#x}, {last:#x}}}" for first, last in found))
    text += table("Decomposition", "kDecompositions", (f"{{{a:#x}, {b:#x}, {c:#x}, {d}}}" for a, b, c, d in pieces))
    text += table("CombiningSpan", "kCombining", (f"{{{a:#x}, {b:#x}, {c}}}" for a, b, c in classes))
    return f"{text}}}  // namespace spar::c_api\n"


def keys_table() -> str:
    lists = {"kTextKeys": known.TEXT, "kVisionKeys": known.VISION, "kTopKeys": known.TOP,
             "kReadKeys": read._READ | set(read.SUBMODELS), "kTrainingPrefixes": known.TRAINING_PREFIXES,
             "kDitKeys": known.DIT, "kDecoderKeys": known.DECODER, "kSamplerKeys": known.SAMPLER}  # fmt: skip
    text = f"{HEAD}#include <string_view>\n\nnamespace spar::c_api {{\n\n"
    for name, words in lists.items():
        text += table("std::string_view", name, (json.dumps(word) for word in sorted(words)))
    return f"{text}}}  // namespace spar::c_api\n"


def presets_table() -> str:
    text = f"{HEAD}#include <string_view>\n\nnamespace spar::c_api {{\n\n"
    texts = [json.dumps(to_dict(preset(name))).replace('", "', '",\n"') for name in read.PUBLISHED]
    text += table("std::string_view", "kPublished", (f'R"({one})"' for one in texts))
    return f"{text}}}  // namespace spar::c_api\n"


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("unicode", unicode_table), ("known_keys", keys_table), ("presets", presets_table)):
        (folder / f"{name}.h").write_text(make())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else FOLDER)
