"""What the C library does with bad input, cancels, callbacks, several threads and no memory."""

import ctypes as c
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest
from c_api_library import (
    BACKEND,
    CANCELLED,
    CHECKPOINT,
    CONFIG,
    INPUT,
    DrawOptions,
    Failed,
    Images,
    LoadOptions,
    OnStep,
    OnText,
    Picture,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine(library, nano):
    made = library.load(nano, "fp32")
    yield made
    made.close()


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def refused(status, words, call, *arguments, **options):
    """The call fails with this status, and its one line holds these words."""
    with pytest.raises(Failed) as error:
        call(*arguments, **options)
    assert error.value.status == status, error.value
    assert words in error.value.words, error.value
    assert "\n" not in error.value.words


def test_version_and_description(library, engine, nano):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert library.raw.spar_version().decode() == version
    about = engine.describe()
    assert (about.name, about.precision, about.threads) == (b"spar-nano", 0, 1)
    assert (about.picture_size, about.max_positions) == (112, 2048)
    assert about.isa in (b"scalar", b"avx2", b"avx512", b"avx512_bf16", b"amx_bf16")


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(("options", "words"), [
    ({"steps": 0}, "steps=0 is not a whole number from 1 to 1000"),
    ({"steps": 1001}, "steps=1001"),
    ({"images": 0}, "images=0 is not a whole number from 1 to 64"),
    ({"images": 65}, "images=65"),
    ({"guidance_scale": NAN}, "guidance_scale=nan is not a finite number"),
    ({"guidance_scale": -INF}, "guidance_scale=-inf is not a finite number"),
    ({"guidance_scale": 1.0, "negative_prompt": "x"}, "negative_prompt has no effect at guidance_scale=1"),
    ({"negative_prompt": " "}, "negative_prompt is blank; write some text"),
    ({"negative_prompt": b"\xff"}, "negative_prompt is not UTF-8 at byte 0"),
    ({"height": 128}, "width=0 is not a whole number from 64 to 256"),
    ({"height": 100, "width": 128}, "height=100 is not a multiple of 32; use 96 or 128"),
    ({"height": 2**31 - 1, "width": 128}, "height=2147483647 is not a whole number from 64 to 256"),
    ({"full_size": 2}, "full_size=2"),
    ({"latents": np.zeros(3)}, "latents_count=3, but 1 pictures of 32 x 4 x 4 need 512"),
    ({"latents": np.full(512, NAN)}, "latents[0] is not finite"),
    ({"latents_count": 5}, "latents is NULL, but latents_count=5"),
    ({"size": 8}, "spar_draw_options.size=8, this library has"),
])  # fmt: skip
def test_refused_options_of_drawing(engine, options, words):
    refused(INPUT, words, engine.generate, "a boat", **options)


@pytest.mark.parametrize(("options", "words"), [
    ({"max_new_tokens": 0}, "max_new_tokens=0 is not a whole number from 1 to 2048"),
    ({"max_new_tokens": 2048}, "max_new_tokens, exceed the model's 2048 positions"),
    ({"max_tiles": 13}, "max_tiles=13 is not a whole number from 1 to 12"),
    ({"temperature": NAN}, "temperature=nan is not a finite number of at least 0"),
    ({"temperature": -1.0}, "temperature=-1"),
    ({"top_p": 0.5}, "top_p=0.500000 has no effect at temperature=0"),
    ({"temperature": 1.0, "top_p": NAN}, "top_p=nan is not a number above 0, up to 1"),
    ({"history": [("a <img>", "b")]}, "question in history holds the special token <img> at character 2"),
    ({"history": [("a", "")]}, "answer in history is empty"),
])  # fmt: skip
def test_refused_options_of_asking(engine, picture, options, words):
    refused(INPUT, words, engine.ask, picture, "what?", **options)
    refused(INPUT, "question has 2 <image> for 1 picture", engine.ask, picture, "<image> or <image>?")
    refused(INPUT, "question has 1 <image> for no picture", engine.ask, None, "<image>?")


@pytest.mark.parametrize(("shape", "words"), [
    ((1, 5, 5), "1x5 pixels are too few"), ((5, -3, 5), "5x-3 pixels are too few"),
    ((20000, 300, 5), "20000x300 pixels: a side is over the limit of 16384"),
    ((16000, 16000, 5), "are over the limit of 178000000 in all"), ((2, 202, 5), "one side is more than 100 times"),
    ((10, 10, 29), "stride=29 is less than a row of 30 bytes"), ((2**31 - 1, 2**31 - 1, 0), "over the limit"),
])  # fmt: skip
def test_refused_pictures(library, engine, shape, words):
    width, height, stride = shape
    room = (c.c_uint8 * 4096)()
    given, images = Picture(c.addressof(room), width, height, 0 if stride == 5 else stride), Images()
    call = library.raw.spar_reconstruct
    status = call(engine.handle, c.byref(given), c.c_int32(0), None, c.byref(images))
    assert status == INPUT
    assert words in library.raw.spar_error().decode()


def test_null_is_refused(library, engine):
    raw, images, options = library.raw, Images(), DrawOptions()
    null = Picture(None, 8, 8, 0)
    calls = (
        (lambda: raw.spar_generate(None, b"x", None, c.byref(images)), "engine is NULL"),
        (lambda: raw.spar_generate(engine.handle, None, None, c.byref(images)), "prompt is NULL"),
        (lambda: raw.spar_generate(engine.handle, b"x", None, None), "images is NULL"),
        (lambda: raw.spar_edit(engine.handle, None, b"x", None, c.byref(images)), "picture is NULL"),
        (lambda: raw.spar_edit(engine.handle, c.byref(null), b"x", None, c.byref(images)), "pixels is null"),
        (lambda: raw.spar_ask(engine.handle, None, b"x", None, None), "answer is NULL"),
        (lambda: raw.spar_load(None, None, c.byref(c.c_void_p())), "directory is NULL"),
        (lambda: raw.spar_load(b"x", None, None), "engine is NULL"),
        (lambda: raw.spar_describe(engine.handle, None), "about is NULL"),
        (lambda: raw.spar_prepare(None), "engine is NULL"),
        (lambda: raw.spar_generate(engine.handle, b"x", c.byref(options), c.byref(images)), "size=0"),
    )
    for call, words in calls:
        assert call() == INPUT
        assert words in raw.spar_error().decode()
    raw.spar_close(None)
    for free in (raw.spar_images_free, raw.spar_answer_free, raw.spar_draw_options_init, raw.spar_ask_options_init,
                 raw.spar_load_options_init, raw.spar_cancel_set, raw.spar_cancel_free):  # fmt: skip
        free(None)


def test_refused_loading(library, nano, tmp_path):
    refused(CHECKPOINT, "no such directory; give a checkpoint directory", library.load, tmp_path / "none")
    refused(CHECKPOINT, "holds neither model.safetensors nor", library.load, tmp_path)
    refused(CONFIG, "dit: position='learned' is unknown", library.load, nano, dit_position="learned")
    refused(INPUT, "threads=1025 is not a whole number from 0 to 1024", library.load, nano, threads=1025)
    refused(BACKEND, "isa='sse9' is not among those of this machine", library.load, nano, isa="sse9")
    options = library.options(LoadOptions, "spar_load_options_init", {"precision": 9})
    handle = c.c_void_p(1)
    assert library.raw.spar_load(str(nano).encode(), c.byref(options), c.byref(handle)) == INPUT
    assert "precision=9 is unknown; use SPAR_FP32" in library.raw.spar_error().decode()
    assert not handle


def test_errors_belong_to_their_thread(library, engine):
    refused(INPUT, "prompt is empty", engine.generate, "")
    other = []
    thread = threading.Thread(target=lambda: other.append(library.raw.spar_error()))
    thread.start()
    thread.join()
    assert other == [b""]
    assert library.raw.spar_error() == b"prompt is empty; write some text"


def test_progress_and_text(engine, picture):
    steps, pieces = [], []
    engine.generate("a boat", steps=3, images=2, on_step=OnStep(lambda _, *step: steps.append(step) or 0))
    assert steps == [(image, step, 3) for image in range(2) for step in range(1, 4)]

    def heard(_, text, length):
        pieces.append(c.string_at(text, length))
        assert c.string_at(text, length + 1)[-1] == 0
        return 0

    text, tokens, *_ = engine.ask(picture, "What is it?", max_new_tokens=10, on_text=OnText(heard))
    assert b"".join(pieces).decode() == text
    assert len(pieces) >= len(tokens)


@pytest.fixture
def cancel(library):
    handle = c.c_void_p()
    library.check(library.raw.spar_cancel_create(c.byref(handle)))
    yield handle
    library.raw.spar_cancel_free(handle)


def test_callbacks_cancel(engine, picture):
    seen = []
    refused(CANCELLED, "cancelled", engine.generate, "a boat", steps=9,
            on_step=OnStep(lambda _, image, step, total: seen.append(step) or step == 2))  # fmt: skip
    assert seen == [1, 2]
    refused(CANCELLED, "cancelled", engine.ask, picture, "What is it?", on_text=OnText(lambda *_: -1))


def test_cancel_from_another_thread(library, engine, picture, cancel):
    """Deep inside a long request, and before one; the engine stays sound."""
    want = engine.generate("a boat", steps=2)
    begun = threading.Event()
    stopper = threading.Thread(target=lambda: begun.wait() and library.raw.spar_cancel_set(cancel))
    stopper.start()
    refused(CANCELLED, "cancelled", engine.generate, "a boat", steps=1000, cancel=cancel,
            on_step=OnStep(lambda *_: begun.set() or 0))  # fmt: skip
    stopper.join()
    refused(CANCELLED, "cancelled", engine.ask, picture, "What is it?", cancel=cancel)
    refused(CANCELLED, "cancelled", engine.reconstruct, picture, cancel=cancel)
    library.raw.spar_cancel_clear(cancel)
    assert np.array_equal(engine.generate("a boat", steps=2, cancel=cancel), want)


def test_many_threads_one_engine(library, nano, picture):
    """Mixed requests at once give what each gives alone."""
    engine = library.load(nano, "bf16", threads=2)
    tasks = (
        lambda: engine.generate("a boat", seed=1, steps=2).tobytes(),
        lambda: engine.edit(picture, "make it red", steps=1).tobytes(),
        lambda: engine.ask(picture, "What is it?", max_new_tokens=4)[1],
        lambda: engine.reconstruct(picture).tobytes(),
    )
    alone = [task() for task in tasks]
    found: dict[int, list] = {}

    def run(number):
        found[number] = [task() for task in (*tasks[number % 4 :], *tasks[: number % 4])]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(5):
        turn = number % 4
        assert found[number] == alone[turn:] + alone[:turn]
    engine.close()


def test_first_use_from_many_threads(library, nano):
    """Components are packed once, whoever comes first."""
    engine = library.load(nano, "fp32", threads=2)
    found = []
    threads = [threading.Thread(target=lambda: found.append(engine.generate("x", steps=1).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    engine.close()


def test_memory_that_runs_out_is_an_error(built, nano):
    """In a process that may have no more address space: a status, and the process lives."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import library
loaded = library.Library({str(built / "libspar.so")!r})
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    loaded.load({str(nano)!r}).generate("a boat")
except library.Failed as error:
    print(error.status, error.words)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("6 memory ran out"), done.stdout


def test_threads_that_do_not_start_are_an_error(built, nano):
    """Stacks need address space: the ones that started end again, and the process lives."""
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import library
loaded = library.Library({str(built / "libspar.so")!r})
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    loaded.load({str(nano)!r}, threads=1024)
except library.Failed as error:
    print(error.status, error.words)
loaded.load({str(nano)!r}, threads=2).close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("4 threads=1024: the system started only "), done.stdout


def test_nothing_but_the_interface_is_exported(built):
    listed = subprocess.run(["nm", "-D", "--defined-only", built / "libspar.so"], capture_output=True, text=True)
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    assert len(names) == (ROOT / "csrc/include/spar.h").read_text().count("SPAR_API ") - 1
    assert all(name.startswith("spar_") for name in names)
