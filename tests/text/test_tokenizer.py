"""Tokenizer against the golden texts, from both kinds of files, and what it refuses."""

import json
import shutil

import pytest
from spar_engine.errors import CheckpointError, InputError, MissingDependency
from spar_engine.text import TextTokenizer, byte_tokenizer

SHAPES = {"spar-tiny": (602, 591), "unilip-tiny": (562, 551)}  # rows of the embedding, image_token_id
SLOW = ("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json")


@pytest.fixture(params=["fast", "slow"])
def files(request, tmp_path, golden):
    """files(model): a directory with tokenizer.json alone, or with the slow tokenizer's files alone."""

    def copy(model="spar-tiny"):
        for name in ("tokenizer.json",) if request.param == "fast" else SLOW:
            shutil.copy(golden(f"{model}/checkpoint/{name}"), tmp_path)
        return tmp_path

    return copy


@pytest.fixture
def slow(tmp_path, golden):
    """A directory with the slow tokenizer's files of spar-tiny alone."""
    for name in SLOW:
        shutil.copyfile(golden(f"spar-tiny/checkpoint/{name}"), tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("model", SHAPES)
def test_golden_texts(model, files, golden):
    tokenizer = TextTokenizer.open(files(model), *SHAPES[model])
    cases = json.loads(golden(f"{model}/text_tokenizer_cases.json").read_text("utf-8"))
    assert len(cases) > 10
    for case in cases:
        assert tokenizer.encode(case["text"]).tolist() == case["ids"], case["text"]


@pytest.mark.parametrize("model", SHAPES)
def test_special_ids(model, files):
    rows, image = SHAPES[model]
    special = TextTokenizer.open(files(model), rows, image).special
    first = image - 5
    assert (special.end_of_text, special.turn_start, special.turn_end) == (first, first + 1, first + 2)
    assert (special.image_start, special.image_end, special.image_context) == (first + 3, first + 4, first + 5)


@pytest.mark.parametrize("model", SHAPES)
def test_golden_answer(model, files, golden_tensors, golden_note):
    tokenizer = TextTokenizer.open(files(model), *SHAPES[model])
    ids = golden_tensors(f"{model}/understand")["new_ids"][0].tolist()
    assert tokenizer.decode(ids).strip() == golden_note(f"{model}/understand")["answer"]


def test_slow_files_make_the_same_tokenizer(golden):
    """Split pattern, normalizer, vocabulary, merges and all, entry by entry."""
    import tokenizers
    from spar_engine.text.qwen2 import read_slow

    directory = golden("spar-tiny/checkpoint")
    built = json.loads(read_slow(directory, tokenizers).to_str())
    read = json.loads(tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json")).to_str())
    assert read.keys() == built.keys()
    for key, value in read.items():
        assert built[key] == value, key


TEXTS = [
    "plain words, digits 1234567890 and (punctuation)!",
    "tabs\tand\n\nlines \r\n  trailing  ",
    "你是书生·万象 ☃ 🙂 👩‍👩‍👧 e\u0301 क्षि",
    "\0\x01\x7f",
    "ı İ ß ﬁ Ω",
]


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_inverts_encoding(text, files):
    import unicodedata

    tokenizer = TextTokenizer.open(files(), *SHAPES["spar-tiny"])
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("text", TEXTS)
def test_streaming_gives_whole_characters_and_the_same_text(text, files):
    tokenizer = TextTokenizer.open(files(), *SHAPES["spar-tiny"])
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in ids]
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
    assert "".join(pieces) + stream.close() == tokenizer.decode(ids)


def test_streaming_of_broken_bytes(files):
    """Bytes 0xF0 0x9F then a letter: one replacement for the maximal broken part, then the letter; and a cut end."""
    tokenizer = TextTokenizer.open(files(), *SHAPES["spar-tiny"])
    smile = tokenizer.encode("🙂").tolist()
    assert len(smile) == 4
    letter = tokenizer.encode("a").tolist()
    stream = tokenizer.stream()
    assert [stream.push(token) for token in smile[:2] + letter] == ["", "", "\ufffda"]
    assert [stream.push(token) for token in smile[:3]] == ["", "", ""]
    assert stream.close() == "\ufffd"


def test_random_ids_decode_as_the_library_does(golden):
    import numpy as np
    from tokenizers import Tokenizer

    directory = golden("spar-tiny/checkpoint")
    tokenizer = TextTokenizer.open(directory, *SHAPES["spar-tiny"])
    library = Tokenizer.from_file(str(directory / "tokenizer.json"))
    rng = np.random.default_rng(0)
    for _ in range(200):
        ids = rng.integers(0, 602, 12).tolist()
        assert tokenizer.decode(ids) == library.decode(ids, skip_special_tokens=True)


def test_special_tokens_are_silent_and_ids_without_a_token_are_replacements(files):
    tokenizer = TextTokenizer.open(files(), *SHAPES["spar-tiny"])
    ids = tokenizer.encode("<|im_start|>a<IMG_CONTEXT>b<|im_end|>")
    assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode([602]) == "\ufffd"


def test_image_token_must_be_the_configured_one(files):
    with pytest.raises(CheckpointError, match=r"<IMG_CONTEXT> has id 591, but .* image_token_id=151667"):
        TextTokenizer.open(files(), 602, 151667)


def test_special_tokens_need_rows_in_the_embedding(files):
    with pytest.raises(CheckpointError, match="has only 589 rows"):
        TextTokenizer.open(files(), 589, 591)


def test_text_beyond_the_embedding(files):
    """Rows that end after <IMG_CONTEXT>: tokens added later exist in the tokenizer only."""
    tokenizer = TextTokenizer.open(files(), 592, 591)
    assert tokenizer.encode("fine").max() < 592
    with pytest.raises(InputError, match=r"<box>, which has no row in the model's embedding of 592"):
        tokenizer.encode("a <box>")


def test_endless_text_is_refused_before_tokenizing(files):
    tokenizer = TextTokenizer.open(files(), *SHAPES["spar-tiny"])
    with pytest.raises(InputError, match="100000000 characters is over the limit of 1600, 16 for each of 100 tokens"):
        tokenizer.encode("a" * 100_000_000, 100)


def test_missing_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json, and without it vocab\.json, merges\.txt, added"):
        TextTokenizer.open(tmp_path, 602, 591)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}'])
def test_damaged_fast_file(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a tokenizer: ") as caught:
        TextTokenizer.open(tmp_path, 602, 591)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.json", "{", r"vocab\.json: is not JSON"),
        ("vocab.json", "[1]", r"vocab\.json: is a JSON list, not an object"),
        ("added_tokens.json", '{"a": "b"}', r"added_tokens\.json: not a table"),
        ("added_tokens.json", '{"a": true}', r"added_tokens\.json: not a table"),
        ("vocab.json", '{"a": -1}', r"vocab\.json: not a table"),
        ("vocab.json", '{"a": 1, "a": 2}', r"vocab\.json: names 'a' twice"),
        ("vocab.json", "[" * 100_000, r"vocab\.json: is not JSON"),
        ("special_tokens_map.json", '{"eos_token": {"contend": "x"}}', r"is neither a token nor an object"),
        ("special_tokens_map.json", "[]", r"special_tokens_map\.json: is a JSON list"),
        ("merges.txt", "a b c\n", r"merges\.txt: a line is not two tokens"),
        ("merges.txt", "Ġ 龙\n", r"do not fit"),
        ("added_tokens.json", '{"<img>": 9999}', r"ids do not follow the vocabulary at '<img>'"),
    ],
)
def test_damaged_slow_files(name, content, message, slow):
    (slow / name).write_text(content, "utf-8")
    with pytest.raises(CheckpointError, match=message):
        TextTokenizer.open(slow, 602, 591)


def test_a_special_token_that_is_null_is_none(slow):
    plain = TextTokenizer.open(slow, 602, 591)
    listed = json.loads((slow / "special_tokens_map.json").read_text("utf-8"))
    (slow / "special_tokens_map.json").write_text(json.dumps(listed | {"bos_token": None}), "utf-8")
    assert TextTokenizer.open(slow, 602, 591).special == plain.special


def test_merges_that_are_no_text(slow):
    (slow / "merges.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(CheckpointError, match=r"merges\.txt: cannot be read as text"):
        TextTokenizer.open(slow, 602, 591)


def test_without_the_library(tmp_path, golden, monkeypatch):
    import sys

    directory = golden("spar-tiny/checkpoint")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for call in (lambda: TextTokenizer.open(directory, 602, 591), lambda: byte_tokenizer(tmp_path / "t.json")):
        with pytest.raises(MissingDependency, match="package `tokenizers`; install it with: pip install tokenizers"):
            call()


def test_another_familys_tokenizer(tmp_path):
    from tokenizers import Tokenizer, decoders, models

    inner = Tokenizer(models.BPE({"a": 0}, []))
    inner.decoder = decoders.ByteLevel()
    inner.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"no special token <\|endoftext\|>"):
        TextTokenizer.open(tmp_path, 602, 591)


WORDS = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
NOT_BYTES = {
    "decoder is Fuse; only ByteLevel is supported": {"decoder": {"type": "Fuse"}},
    "model is WordLevel; only BPE is supported": {"model": WORDS},
    "continuing_subword_prefix='#'; only none": {"model": {"continuing_subword_prefix": "#", "merges": []}},
    "end_of_word_suffix='</w>'; only none": {"model": {"end_of_word_suffix": "</w>"}},
    "dropout=0.5; only none": {"model": {"dropout": 0.5}},
    # One that merges' tokens do not begin with: the library panics.
    "not a tokenizer: .*out of range": {"model": {"continuing_subword_prefix": "#########"}},
}


@pytest.mark.parametrize("said", NOT_BYTES)
def test_a_tokenizer_that_is_not_byte_level(said, tmp_path, golden):
    entry = json.loads(golden("spar-tiny/checkpoint/tokenizer.json").read_text("utf-8"))
    for key, value in NOT_BYTES[said].items():
        entry[key] = entry[key] | value if isinstance(value, dict) and "type" not in value else value
    (tmp_path / "tokenizer.json").write_text(json.dumps(entry), "utf-8")
    with pytest.raises(CheckpointError, match=said):
        TextTokenizer.open(tmp_path, 602, 591)


def test_a_byte_without_a_token(tmp_path):
    """A text that holds it would lose it, without a word."""
    byte_tokenizer(tmp_path / "tokenizer.json")
    entry = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    entry["model"]["vocab"] = {("aa" if token == "a" else token): number
                               for token, number in entry["model"]["vocab"].items()}  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(entry), "utf-8")
    with pytest.raises(CheckpointError, match=r"no token for byte 0x61 \(1 of 256 missing\)"):
        TextTokenizer.open(tmp_path, 262, 261)


def test_what_stops_the_program_is_no_failure_of_the_library():
    from spar_engine.text.library import failures

    with pytest.raises(KeyboardInterrupt), failures("x"):
        raise KeyboardInterrupt


def test_padding_and_truncation_of_the_file_are_off(tmp_path, golden):
    entry = json.loads(golden("spar-tiny/checkpoint/tokenizer.json").read_text("utf-8"))
    entry["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(entry), "utf-8")
    assert len(TextTokenizer.open(tmp_path, 602, 591).encode("many more than three tokens")) > 3


def test_byte_tokenizer(tmp_path):
    import unicodedata

    ids = byte_tokenizer(tmp_path / "tokenizer.json")
    assert list(ids) == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    assert list(ids.values()) == [256, 257, 258, 259, 260, 261]
    tokenizer = TextTokenizer.open(tmp_path, 262, 261)
    for text in TEXTS:
        composed = unicodedata.normalize("NFC", text)
        assert tokenizer.encode(text).tolist() == list(composed.encode())
        assert tokenizer.decode(tokenizer.encode(text)) == composed
    assert tokenizer.encode("a<img>").tolist() == [97, 259]


def test_threads_share_one_tokenizer(files):
    from concurrent.futures import ThreadPoolExecutor

    tokenizer = TextTokenizer.open(files(), *SHAPES["spar-tiny"])
    texts = [f"picture number {n} of a boat" for n in range(64)]
    want = [tokenizer.encode(text).tolist() for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert [ids.tolist() for ids in pool.map(tokenizer.encode, texts)] == want
