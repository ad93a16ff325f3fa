"""Damaged files: the C library ends with words, never with a crash, and judges as the Python package does."""

import json
import random
import shutil
import struct

import numpy as np
import pytest
from c_api_library import CHECKPOINT, CONFIG, OK, Failed, Library
from c_api_probing import Refused
from spar_engine.errors import CheckpointError
from spar_engine.weights.safetensors import SafetensorsFile


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bits flipped, bytes put in, taken out or doubled, or the end cut off."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at, kind = rng.randrange(len(changed) + 1), rng.randrange(6)
        if kind <= 1 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            changed[at:at] = rng.choice(
                [b"{", b"}", b"[", b'"', b",", b"9" * 30, b"-", b"\xff", b"\0", b"\\u", b"null", b"1e999"]
            )
        elif kind == 3:
            del changed[at : at + rng.randrange(1, 9)]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randrange(1, 40)]
        elif rng.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def small_file() -> bytes:
    header = {
        "__metadata__": {"format": "pt"},
        "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]},
        "c.bias": {"dtype": "F8_E4M3", "shape": [], "data_offsets": [34, 35]},
        "d": {"dtype": "I64", "shape": [0, 4], "data_offsets": [35, 35]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(range(35))


def test_safetensors_headers(probe, tmp_path):
    """Both readers take and refuse the same files."""
    rng, good = random.Random(1), small_file()
    files = [good, b"", good[:8], good[:-1], good + b"x", b"PK\x03\x04" + good[4:], struct.pack("<Q", 2**63) + good[8:]]
    files += [mutated(good, rng) for _ in range(700)]
    taken = 0
    for data, found in zip(files, probe.all("safetensors", files), strict=True):
        (tmp_path / "file").write_bytes(data)
        try:
            tensors = SafetensorsFile(tmp_path / "file").tensors
        except CheckpointError:
            tensors = None
        if tensors is None:
            assert isinstance(found, Refused), data
            assert str(found).startswith("file: ")
        else:
            assert found == str(len(tensors)).encode(), (data, found)
            taken += 1
    assert 5 < taken < len(files) / 2


def strict(text: bytes):
    """Python's reading of JSON, without what the C library refuses on purpose: lone surrogates and keys named twice."""

    def unique(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a key twice")
        return dict(pairs)

    found = json.loads(text.decode(), object_pairs_hook=unique)
    json.dumps(found, ensure_ascii=False).encode()
    return found


def test_json(probe, nano):
    rng = random.Random(2)
    seeds = [
        (nano / "config.json").read_bytes(),
        b'{"a": [1, -2.5e-3, "\\ud83d\\ude42\\n\xc3\xa9", null, true]}',
        b'[NaN, -Infinity, 0, 1E5, {}, [], ""]',
    ]
    texts = [mutated(seed, rng) for seed in seeds for _ in range(700)] + seeds
    texts += [
        b"[" * 90 + b"]" * 90,
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"- 1",
        b'"\t"',
        b"\xef\xbb\xbf1",
        b" 1 ",
        b"",
        b"nul",
        b'"\\x"',
    ]
    for text, found in zip(texts, probe.all("json", texts), strict=True):
        try:
            strict(text)
        except (ValueError, RecursionError):
            assert isinstance(found, Refused), text
        else:  # numbers that float64 cannot hold are refused here, and are infinite there
            assert not isinstance(found, Refused) or "number out of range" in str(found), (text, found)
    for deep in (b"[" * 100000, b'{"a":' * 5000):
        with pytest.raises(Refused, match="more than 100 levels"):
            probe.one("json", deep)


def test_tokenizer_files(probe, nano):
    rng, good = random.Random(3), (nano / "tokenizer.json").read_bytes()
    texts = [good, good[: len(good) // 2], *(mutated(good, rng) for _ in range(400))]
    for place in ("pre_tokenizer", "added_tokens", '"merges"', '"vocab"', "decoder"):  # where a change matters most
        at = good.index(place.encode())
        texts += [good[:at] + mutated(good[at : at + 300], rng) + good[at + 300 :] for _ in range(60)]
    found = probe.all("tokenizer.json", texts)
    assert not isinstance(found[0], Refused)
    refused = [str(one) for one in found if isinstance(one, Refused)]
    assert len(refused) > 100
    assert all(words.startswith(("tokenizer.json: ", "text holds")) for words in refused)


def copied(nano, to, whole=False):
    shutil.copytree(nano, to, ignore=shutil.ignore_patterns("*.safetensors"))
    if whole:
        shutil.copy(nano / "model.safetensors", to)
    return to


def prepared(library, directory) -> None:
    engine = library.load(directory)
    try:
        engine.prepare()
    finally:
        engine.close()


def load_words(library, directory, status=CHECKPOINT, prepare=False) -> str:
    """The words with which loading or packing ends."""
    with pytest.raises(Failed) as error:
        (prepared if prepare else Library.load)(library, directory)
    assert error.value.status == status, error.value
    return error.value.words


def with_header(nano, to, change) -> None:
    """The bundled weights with a changed header."""
    data = (nano / "model.safetensors").read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    (to / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


def test_weights_that_do_not_fit(library, nano, tmp_path):
    name = "model.dit.patch_embed.proj.weight"
    cases = (
        (lambda h: h.update({"model.dit.patch.weight": h.pop(name)}),
         ("1 missing: `" + name, "1 unknown: `model.dit.patch.weight`")),
        (lambda h: h[name].update(shape=h[name]["shape"][::-1]), ("mis-shaped", name)),
        (lambda h: h[name].update(dtype="U32" if h[name]["dtype"] == "F32" else "U16"),
         ("not of a float type: `" + name,)),
        (lambda h: h[name].update(shape=[2**62, 4]), (name, "which no memory holds")),
        (lambda h: h[name].update(data_offsets=[0, 2**62]), (name, "needs")),
        (lambda h: h.update(x={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), ("1 unknown: `x`",)),
    )  # fmt: skip
    for number, (change, words) in enumerate(cases):
        folder = copied(nano, tmp_path / str(number))
        with_header(nano, folder, change)
        found = load_words(library, folder)
        assert all(word in found for word in words), found


def test_cut_and_missing_files(library, nano, tmp_path):
    data = (nano / "model.safetensors").read_bytes()
    folder = copied(nano, tmp_path / "cut")
    for size in (0, 5, 8, 100, len(data) // 2, len(data) - 1):
        (folder / "model.safetensors").write_bytes(data[:size])
        assert str(folder / "model.safetensors") in load_words(library, folder)
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "git lfs pull" in load_words(library, folder)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b.safetensors"}}')
    assert "'../b.safetensors', which is not a file of this directory" in load_words(library, folder)

    folder = copied(nano, tmp_path / "missing")
    (folder / "model.safetensors").symlink_to(nano / "model.safetensors")
    tokenizer = (folder / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").unlink()
    assert "vocab.json: cannot be read (No such file or directory)" in load_words(library, folder)
    (folder / "tokenizer.json").write_bytes(tokenizer.replace(b'"<IMG_CONTEXT>"', b'"<IMG_CONTEX>"'))
    assert "no special token <IMG_CONTEXT>" in load_words(library, folder)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    (folder / "config.json").write_text("[1]")
    assert "is a JSON list, not an object" in load_words(library, folder, CONFIG)
    (folder / "config.json").unlink()
    assert "config.json: cannot be read" in load_words(library, folder, CONFIG)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite(library, nano, tmp_path, value):
    folder, name = copied(nano, tmp_path / "nan", whole=True), "model.vae_decoder.decoder.conv_out.bias"
    info = SafetensorsFile(folder / "model.safetensors").tensors[name]
    bits = np.array([value], np.float32).tobytes()[4 - info.nbytes // 3 :]
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(info.begin)
        file.write(bits)
    assert f"`{name}` holds NaN or infinity; the weights are damaged" in load_words(library, folder, prepare=True)


def status_of(library, folder) -> int:
    try:
        library.load(folder).close()
    except Failed as error:
        return error.status
    return OK


def test_flipped_header_bits(library, nano, tmp_path):
    """Anywhere in the real header: refused with words, or a change that means nothing."""
    folder, rng = copied(nano, tmp_path / "flip", whole=True), random.Random(4)
    with (folder / "model.safetensors").open("r+b") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        for _ in range(150):
            at, bit = rng.randrange(8 + size), 1 << rng.randrange(8)
            file.seek(at)
            (byte,) = file.read(1)
            file.seek(at)
            file.write(bytes((byte ^ bit,)))
            file.flush()
            assert status_of(library, folder) in (OK, CHECKPOINT, CONFIG)
            file.seek(at)
            file.write(bytes((byte,)))
            file.flush()
    library.load(folder).close()
