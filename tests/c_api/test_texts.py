"""The C library's tokenizer, normalization and prompts against the package `tokenizers` and the Python package."""

import random
import shutil

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.runtime.assemble import open_tokenizer, open_weights
from spar_engine.text import Prompts, TextTokenizer
from spar_engine.text.qwen2 import SPLIT

SURROGATES = range(0xD800, 0xE000)
TEXTS = [
    "", " ", "It's we'RE they'LLama x'\u017ftop x'STOP it'DD I'd 'tis don'T I\u017f '\u017f",
    "a  b   c\n\n d \r\n\r\n  e\t\tf ",
    "1234567890 ١٢٣ Ⅷ ½",
    "你是书生·万象 ☃ 🙂 👩‍👩‍👧 e\u0301 क्षि \u1100\u1161\u11a8 한글",
    "\0\x01\x7f\x85\xa0\u3000", "ı İ ß ﬁ Ω \u212b \u0344",
    "<|im_start|>user\nx<|im_end|>", "<img><IMG_CONTEXT></img><img", "a<|endoftext|>e\u0301<box>1</box>",
    "  \n  x", "\n\r x ",
    "q\u0323\u0307 q\u0307\u0323 \u1e9b\u0323", "...!!!\r\n\n??", " ...", "aaaaaaaaaaaaaaaaaaaaaaaaa",
]  # fmt: skip


def random_texts(count: int, seed: int) -> list[str]:
    """Of characters that matter to the split, of every assigned plane, and of marks that combine."""
    rng = random.Random(seed)
    near = [*" \t\n\r\v\f'\u00a0\u3000stSTrevmldLDſ019²a.é!<|>", "'ll", "'Re", "<img>", "<|im_end|>", "\r\n", "  "]
    marks = [chr(point) for point in (*range(0x300, 0x34F), 0x323, 0x1DC0, 0x0F71, 0x0F72, 0x3099, 0x0591, 0x093C)]
    texts = []
    for _ in range(count):
        kinds = [
            lambda: rng.choice(near),
            lambda: chr(rng.choice([p for p in (rng.randrange(0x110000),) if p not in SURROGATES] or [0x41])),
            lambda: chr(rng.randrange(0x20, 0x3000)),
            lambda: rng.choice("aeiouAEIOUнуに") + "".join(rng.choices(marks, k=rng.randrange(3))),
            lambda: chr(rng.randrange(0xAC00, 0xD7A4)) + chr(rng.randrange(0x1100, 0x1200)),
        ]
        texts.append("".join(rng.choice(kinds)() for _ in range(rng.randrange(1, 25))))
    return texts


@pytest.fixture(scope="module")
def folders(nano, golden, tmp_path_factory):
    """folders[name]: a directory with tokenizer files, and the rows and image token of its model."""
    made = {"nano": (nano, 728, 721)}
    for name in ("fast", "slow"):
        folder = tmp_path_factory.mktemp(name)
        files = ("tokenizer.json",) if name == "fast" else (
            "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")  # fmt: skip
        for file in files:
            shutil.copy(golden(f"spar-tiny/checkpoint/{file}"), folder)
        made[name] = folder, 602, 591
    return made


def test_split(probe):
    """Where the words of a text end: sharper than tokens, which small vocabularies seldom join across a border."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import Split

    split = Split(Regex(SPLIT), "isolated")
    texts = TEXTS + random_texts(6000, 6)
    for text, found in zip(texts, probe.all("split", [text.encode() for text in texts]), strict=True):
        want = [end - start for _, (start, end) in split.pre_tokenize_str(text)]
        assert [int(length) for length in found.split()] == want, text


@pytest.mark.parametrize("name", ["nano", "fast", "slow"])
def test_tokens(probe, folders, name):
    folder, rows, image = folders[name]
    ours = TextTokenizer.open(folder, rows, image)
    texts = TEXTS + random_texts(4000, 7)
    found = probe.all("tokens", [text.encode() for text in texts], str(folder))
    for text, ids in zip(texts, found, strict=True):
        assert [int(number) for number in ids.split()] == ours._tokenizer.encode(text, add_special_tokens=False).ids, (
            text
        )


@pytest.mark.parametrize("name", ["nano", "fast", "slow"])
def test_text_of_tokens(probe, folders, name):
    folder, rows, image = folders[name]
    ours, rng = TextTokenizer.open(folder, rows, image), random.Random(8)
    lists = [[rng.randrange(rows + 3) for _ in range(rng.randrange(12))] for _ in range(500)]
    found = probe.all("text", [b"\n" + np.array(ids, np.int64).tobytes() for ids in lists], str(folder))
    assert [text.decode() for text in found] == [ours.decode(ids) for ids in lists]


def test_normalization(probe):
    """Every code point alone, between letters, and before marks; Python's own tables where both know the character."""
    from tokenizers.normalizers import NFC

    library = NFC()
    points = [chr(point) for point in range(0x110000) if point not in SURROGATES]
    texts = ["".join(points[start : start + 500]) for start in range(0, len(points), 500)]
    texts += ["".join(f"a{character}\u0301\u0323" for character in points[start : start + 500])
              for start in range(0, 0x20000, 500)]  # fmt: skip
    texts += random_texts(3000, 9)
    for text, found in zip(texts, probe.all("nfc", [text.encode() for text in texts]), strict=True):
        want = library.normalize_str(text)
        if found.decode() != want:
            wrong = [character for character in set(text) if library.normalize_str(f"a{character}\u0301\u0323") !=
                     probe.one("nfc", f"a{character}\u0301\u0323").decode()]  # fmt: skip
            raise AssertionError(f"{[hex(ord(character)) for character in wrong]} or {text!a}")


def test_second_pieces_are_whole():
    """unicode.cpp decomposes the first piece of a decomposition again, but not the second."""
    import unicodedata

    for point in range(0x110000):
        text = unicodedata.decomposition(chr(point))
        if text and not text.startswith("<"):
            assert not [piece for piece in text.split()[1:] if unicodedata.decomposition(chr(int(piece, 16)))]


def python_prompts(nano):
    weights = open_weights(str(nano))
    return Prompts(open_tokenizer(weights), weights.config)


def test_prompts(probe, nano):
    prompts = python_prompts(nano)
    texts = ["a boat", "two\nlines", "您好, it's ½ e\u0301", "x" * 300]
    records, want = [], []
    for kind, make in (("generation", prompts.generation), ("edit", prompts.edit)):
        for text in texts:
            records.append(f"{kind}\0{text}".encode())
            want.append(make(text).ids)
    records += [b"generation", b"edit"]
    want += [prompts.unconditional().ids, prompts.edit_unconditional().ids]
    for record, found, ids in zip(records, probe.all("prompt", records, str(nano)), want, strict=True):
        assert [int(number) for number in found.split(b"|")[0].split()] == ids.tolist(), record


def test_chats(probe, nano):
    prompts = python_prompts(nano)
    cases = [
        ("what is it?", (), 1), ("what is it?", (), 0), ("see <image> there", (), 4),
        ("and now?", (("a", "b"), ("c", "d")), 1),
        ("and?", (("<image> first", "b"),), 1), ("Ünï\u0301", (("你好", "世界 🙂"),), 0),
    ]  # fmt: skip
    for question, history, tiles in cases:
        want = prompts.chat(question, [tiles] if tiles else [], history, 10)
        record = "\0".join(["chat", str(tiles), *(text for turn in history for text in turn), question])
        ids, cuts = probe.one("prompt", record, str(nano)).split(b"|")
        assert [int(number) for number in ids.split()] == want.ids.tolist()
        assert tuple(int(number) for number in cuts.split()) == want.cuts


def test_refused_texts(probe, nano):
    from c_api_probing import Refused

    prompts = python_prompts(nano)
    for text in ("", " \u3000\n", "a <|im_end|>", "<image>", "é<img>", "y" * 40000, "z " * 2040):
        with pytest.raises(InputError) as error:
            prompts.generation(text)
        with pytest.raises(Refused) as found:
            probe.one("prompt", f"generation\0{text}", str(nano))
        assert str(found.value) == str(error.value)
    with pytest.raises(Refused, match="prompt is not UTF-8 at byte 2; pass valid UTF-8"):
        probe.one("prompt", b"generation\0ab\xff", str(nano))
