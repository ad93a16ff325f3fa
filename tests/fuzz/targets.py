"""What reads bytes from outside. A target may raise this package's errors and nothing else, whatever the bytes are.

Each target takes bytes; `SEEDS` gives valid ones to start from, `corpus/TARGET` keeps those that once found something.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from spar_engine.errors import Busy, SparError

GOLDEN = Path(__file__).parents[1] / "golden" / "spar-tiny" / "checkpoint"
CORPUS = Path(__file__).parent / "corpus"
_FOLDER = Path(tempfile.mkdtemp(prefix="spar-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def _placed(name: str, data: bytes) -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


def config(data: bytes) -> None:
    """config.json of a checkpoint whose other files are sound."""
    from spar_engine.config.read import read_config

    folder = _placed("config.json", data).parent
    for part in ("mllm", "mllm_hf", "vae", "dit"):
        if not (folder / part).exists():
            shutil.copytree(GOLDEN / part, folder / part)
    read_config(folder, _shapes())


def _shapes() -> dict[str, tuple[int, ...]]:
    from spar_engine.weights.safetensors import SafetensorsFile

    if not _SHAPES:
        _SHAPES.update(
            {name: info.shape for name, info in SafetensorsFile(GOLDEN / "model.safetensors").tensors.items()}
        )
    return _SHAPES


_SHAPES: dict[str, tuple[int, ...]] = {}


def safetensors(data: bytes) -> None:
    """A safetensors file: what its header describes can then be read."""
    from spar_engine.weights.safetensors import SafetensorsFile

    file = SafetensorsFile(_placed("x.safetensors", data))
    for name, info in file.tensors.items():
        if file.raw(name).nbytes != info.nbytes:
            raise AssertionError(f"{name!r} has another size than its header says")


def manifest(data: bytes) -> None:
    """manifest.json of artefacts; what it lists are names of files and nothing else."""
    from spar_engine.backends.manifest import is_plain_name, read_manifest

    found = read_manifest(_placed("manifest.json", data).parent)
    for entry in found.components.values():
        if not all(is_plain_name(file.file) for file in (entry.graph, *entry.weights)):
            raise AssertionError("a manifest with a path was accepted")


def packed(data: bytes) -> None:
    """A file of packed weights."""
    from spar_engine.backends.packed import read

    read(_placed("x.packed", data), "ab" * 32)


def tokenizer(data: bytes) -> None:
    """tokenizer.json, then a text through it."""
    from spar_engine.text import TextTokenizer

    folder = _placed("tokenizer.json", data).parent
    made = TextTokenizer.open(folder, 602, 591)
    made.decode(made.encode("a red boat\n", 512))


def vocabulary(data: bytes) -> None:
    """The files of a slow tokenizer, with a zero between them, then a text through what they make."""
    from spar_engine.text import TextTokenizer

    folder = _FOLDER / "slow"
    folder.mkdir(exist_ok=True)
    for name, content in zip(SLOW, [*data.split(b"\0", 3), b"", b"", b""][:4], strict=True):
        (folder / name).write_bytes(content)
    made = TextTokenizer.open(folder, 602, 591)
    made.decode(made.encode("a red boat\n", 512))


SLOW = ("merges.txt", "special_tokens_map.json", "added_tokens.json", "vocab.json")


def text(data: bytes) -> None:
    """A prompt: what is accepted becomes ids of the model, and its own text again."""
    from spar_engine.text import Prompts, TextTokenizer

    if not _PROMPTS:
        sizes = SimpleNamespace(language=SimpleNamespace(max_positions=1024), query_count=16, image_tokens=16)
        _PROMPTS.append(Prompts(TextTokenizer.open(GOLDEN, 602, 591), sizes))
    given = data.decode("utf-8", "surrogateescape")
    made = _PROMPTS[0].chat(given, [1], [(given, "x")] if len(data) % 2 else [])
    if int((made.ids == 591).sum()) != 16 or made.ids.max() >= 602:
        raise AssertionError("a text changed the structure of its prompt")


_PROMPTS: list[Any] = []


def image(data: bytes) -> None:
    """An encoded picture."""
    from spar_engine.image import load_image

    found = load_image(data, max_pixels=1 << 20)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or found.shape[0] * found.shape[1] > 1 << 20:
        raise AssertionError(f"a picture came out as {found.dtype} {found.shape}")


def request(data: bytes) -> None:
    """A request of the server: path number, then the body. Nothing but documented statuses may come back."""
    import httpx

    paths = ("/v1/images/generations", "/v1/chat/completions", "/v1/images/edits", "/v1/segment", "/v1/reconstruct")
    number, body = (data[0], data[1:]) if data else (0, b"")
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    kind = form if number % len(paths) > 1 else {"Content-Type": "application/json"}

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post(paths[number % len(paths)], content=body, headers=kind)

    answer = asyncio.run(send())
    if answer.status_code not in (400, 404, 413, 503):
        raise AssertionError(f"status {answer.status_code}: {answer.text[:200]}")
    if "error" not in answer.json():
        raise AssertionError("a refusal without a message")


def _app() -> Any:
    """The server before an engine that is always busy: everything is read and checked, nothing runs."""
    from spar_engine.config import preset
    from spar_engine.server.app import build_app
    from spar_engine.server.settings import Settings

    if not _APPS:

        async def busy(*_: Any, **__: Any) -> None:
            raise Busy("busy")

        names = ("agenerate", "aedit", "asegment", "areconstruct", "aask")
        engine = SimpleNamespace(config=preset("spar-tiny-random"), **dict.fromkeys(names, busy))
        _APPS.append(build_app(engine, Settings(warmup=False, max_pixels=1 << 16)))
    return _APPS[0]


_APPS: list[Any] = []


def _png() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(out, "PNG")
    return out.getvalue()


def _safetensors() -> bytes:
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]},
                         "b": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}).encode()  # fmt: skip
    return len(header).to_bytes(8, "little") + header + bytes(12)


def _packed() -> bytes:
    from spar_engine.backends.packed import write

    path = _FOLDER / "seed.packed"
    write(path, "ab" * 32, memoryview(bytes(64)))
    return path.read_bytes()


def _manifest() -> bytes:
    file = {"file": "a.onnx", "size": 1, "sha256": "0" * 64}
    entry = {"graph": file, "taps": None, "weights": [file | {"location": "a.onnx"}], "in_place": True,
             "parameters": ["x"], "source": "0", "spec": "0", "recipe": "0", "versions": {"onnx": "1"}}  # fmt: skip
    return json.dumps({"format": "spar-artefacts 1", "model": "x", "components": {"dit": entry}}).encode()


def _form() -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
    return (part % (b"prompt", b"", b"x") + part % (b"image", b'; filename="a.png"', _png())) + b"--x--\r\n"


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "config": lambda: [(GOLDEN / "config.json").read_bytes()],
    "safetensors": lambda: [_safetensors()],
    "manifest": lambda: [_manifest()],
    "packed": lambda: [_packed()],
    "tokenizer": lambda: [(GOLDEN / "tokenizer.json").read_bytes()],
    "vocabulary": lambda: [b"\0".join((GOLDEN / name).read_bytes() for name in SLOW)],
    "text": lambda: [b"What is it?", "<image>\nÀ <ref>b</ref> 你".encode(), b"\xff\xfe<IMG_CONTEXT>"],
    "image": lambda: [_png()],
    "request": lambda: [
        b'\0{"prompt": "x", "n": 1, "size": "64x64", "seed": 1, "stream": true, "partial_images": 1}',
        b'\1{"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}], "max_tokens": 5}',
        b"\2" + _form(), b"\3" + _form(), b"\4" + _form(),
    ],
}  # fmt: skip
TARGETS = {name: globals()[name] for name in SEEDS}


def seeds(name: str) -> list[bytes]:
    """Valid inputs, and the kept corpus."""
    return SEEDS[name]() + [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


def once(name: str, data: bytes) -> None:
    """One input; whatever else than an error of this package comes out of it is a finding."""
    try:
        TARGETS[name](data)
    except SparError as refused:
        if "\n" in str(refused):
            raise AssertionError(f"a refusal of several lines: {str(refused)[:200]!r}") from refused
