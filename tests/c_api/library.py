"""spar.h for ctypes, for the tests of this folder."""

from __future__ import annotations

import ctypes as c
from pathlib import Path

import numpy as np

OK, CONFIG, CHECKPOINT, INPUT, BACKEND, CANCELLED, MEMORY, INTERNAL = range(8)
PRECISIONS = {"fp32": 0, "bf16": 1, "int8": 2, "int4": 3}
OnStep = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int32, c.c_int32, c.c_int32)
OnText = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(c.c_char), c.c_size_t)


class LoadOptions(c.Structure):
    _fields_ = (("size", c.c_size_t), ("precision", c.c_int), ("threads", c.c_int32), ("pin", c.c_int32),
                ("isa", c.c_char_p), ("dit_position", c.c_char_p))  # fmt: skip


class About(c.Structure):
    _fields_ = (("name", c.c_char_p), ("isa", c.c_char_p), ("precision", c.c_int), ("threads", c.c_int32),
                ("picture_size", c.c_int32), ("max_positions", c.c_int32))  # fmt: skip


class Picture(c.Structure):
    _fields_ = (("pixels", c.c_void_p), ("width", c.c_int32), ("height", c.c_int32), ("stride", c.c_int64))


class Images(c.Structure):
    _fields_ = (("pixels", c.c_void_p), ("count", c.c_int32), ("width", c.c_int32), ("height", c.c_int32))


class DrawOptions(c.Structure):
    _fields_ = (("size", c.c_size_t), ("negative_prompt", c.c_char_p), ("seed", c.c_uint64), ("latents", c.c_void_p),
                ("latents_count", c.c_size_t), ("steps", c.c_int32), ("images", c.c_int32),
                ("guidance_scale", c.POINTER(c.c_float)), ("height", c.c_int32), ("width", c.c_int32),
                ("full_size", c.c_int32),
                ("on_step", OnStep), ("user", c.c_void_p), ("cancel", c.c_void_p))  # fmt: skip


class Turn(c.Structure):
    _fields_ = (("question", c.c_char_p), ("answer", c.c_char_p))


class AskOptions(c.Structure):
    _fields_ = (("size", c.c_size_t), ("history", c.POINTER(Turn)), ("history_count", c.c_size_t),
                ("max_new_tokens", c.c_int32), ("max_tiles", c.c_int32), ("temperature", c.c_double),
                ("top_p", c.c_double), ("seed", c.c_uint64), ("on_text", OnText), ("user", c.c_void_p),
                ("cancel", c.c_void_p))  # fmt: skip


class Answer(c.Structure):
    _fields_ = (("text", c.c_char_p), ("tokens", c.POINTER(c.c_int64)), ("token_count", c.c_int32),
                ("prompt_tokens", c.c_int32), ("finished", c.c_int32))  # fmt: skip


class Failed(Exception):
    """A call that did not return SPAR_OK: status and words."""

    def __init__(self, status: int, words: str):
        super().__init__(f"{status}: {words}")
        self.status, self.words = status, words


class Library:
    def __init__(self, path: Path):
        self.raw = c.CDLL(str(path))
        for name in ("spar_version", "spar_error"):
            getattr(self.raw, name).restype = c.c_char_p
        for name in ("spar_close", "spar_cancel_set", "spar_cancel_clear", "spar_cancel_free"):
            getattr(self.raw, name).argtypes = [c.c_void_p]
            getattr(self.raw, name).restype = None

    def check(self, status: int) -> None:
        if status != OK:
            raise Failed(status, self.raw.spar_error().decode())

    def load(self, directory, precision="fp32", threads=1, **options) -> Engine:
        return Engine(self, directory, precision, threads, options)

    def options(self, kind: type, init: str, given: dict):
        made = kind()
        getattr(self.raw, init)(c.byref(made))
        for name, value in given.items():
            setattr(made, name, value.encode() if isinstance(value, str) else value)
        return made


class Engine:
    def __init__(self, library: Library, directory, precision: str, threads: int, options: dict):
        self.library, self.handle = library, c.c_void_p()
        chosen = library.options(LoadOptions, "spar_load_options_init",
                                 {"precision": PRECISIONS[precision], "threads": threads} | options)  # fmt: skip
        library.check(library.raw.spar_load(str(directory).encode(), c.byref(chosen), c.byref(self.handle)))

    def describe(self) -> About:
        about = About()
        self.library.check(self.library.raw.spar_describe(self.handle, c.byref(about)))
        return about

    def prepare(self) -> None:
        self.library.check(self.library.raw.spar_prepare(self.handle))

    def generate(self, prompt: str, **options) -> np.ndarray:
        return self._draw("spar_generate", (prompt.encode(),), options)

    def edit(self, picture: np.ndarray, instruction: str, **options) -> np.ndarray:
        return self._draw("spar_edit", (c.byref(picture_of(picture)), instruction.encode()), options)

    def segment(self, picture: np.ndarray, instruction: str | None = None, **options) -> np.ndarray:
        text = None if instruction is None else instruction.encode()
        return self._draw("spar_segment", (c.byref(picture_of(picture)), text), options)

    def reconstruct(self, picture: np.ndarray, side: int = 0, cancel=None) -> np.ndarray:
        images = Images()
        self.library.check(self.library.raw.spar_reconstruct(
            self.handle, c.byref(picture_of(picture)), c.c_int32(side), cancel, c.byref(images)))  # fmt: skip
        return self._taken(images)

    def ask(self, picture: np.ndarray | None, question: str, history=(), **options):
        """(text, token ids, prompt tokens, finished)"""
        turns = (Turn * len(history))(*(Turn(asked.encode(), answer.encode()) for asked, answer in history))
        given = {"history": turns, "history_count": len(history)} | options
        chosen, answer = self.library.options(AskOptions, "spar_ask_options_init", given), Answer()
        shown = None if picture is None else c.byref(picture_of(picture))
        raw = self.library.raw
        self.library.check(raw.spar_ask(self.handle, shown, question.encode(), c.byref(chosen), c.byref(answer)))
        found = answer.text.decode(), answer.tokens[: answer.token_count], answer.prompt_tokens, bool(answer.finished)
        raw.spar_answer_free(c.byref(answer))
        return found

    def close(self) -> None:
        self.library.raw.spar_close(self.handle)
        self.handle = c.c_void_p()

    def _draw(self, name: str, arguments: tuple, options: dict) -> np.ndarray:
        latents = options.pop("latents", None)
        if latents is not None:
            latents = np.ascontiguousarray(latents, np.float32)
            options |= {"latents": latents.ctypes.data, "latents_count": latents.size}
        if "guidance_scale" in options:
            options["guidance_scale"] = c.pointer(c.c_float(options["guidance_scale"]))
        chosen, images = self.library.options(DrawOptions, "spar_draw_options_init", options), Images()
        call = getattr(self.library.raw, name)
        self.library.check(call(self.handle, *arguments, c.byref(chosen), c.byref(images)))
        return self._taken(images)

    def _taken(self, images: Images) -> np.ndarray:
        shape = (images.count, images.height, images.width, 3)
        array = np.frombuffer(c.string_at(images.pixels, int(np.prod(shape))), np.uint8).reshape(shape)
        self.library.raw.spar_images_free(c.byref(images))
        assert not images.pixels
        return array


def picture_of(array: np.ndarray) -> Picture:
    """Over an array [height, width, 3] uint8 whose rows may be apart; the array must outlive it."""
    made = Picture(array.ctypes.data, array.shape[1], array.shape[0], array.strides[0])
    made.kept = array
    return made
