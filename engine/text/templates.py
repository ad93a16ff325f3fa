"""The prompt templates, to the byte (spec 1.1 to 1.3). Pure strings; what goes in was checked before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .special import IMAGE_CONTEXT, IMAGE_END, IMAGE_START, PLACEHOLDER, TURN_END, TURN_START

CHAT_SYSTEM = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合开发的多模态大语言模型。"
)
SEGMENT_INSTRUCTION = "Segment the image: paint every object in its own distinct solid color."


def turn(role: str, text: str) -> str:
    return f"{TURN_START}{role}\n{text}{TURN_END}\n"


# What every prompt of one kind begins with; the language model's state after it is kept between prompts (E9).
SHARED = {
    "generation": f"{TURN_START}user\nGenerate an image:",
    "edit": f"{TURN_START}user\nEdit the image:",
}


def _drawing(request: str) -> str:
    """The frame of every prompt that ends in a picture: the reply has begun and opened the picture."""
    return f"{turn('user', request)}{TURN_START}assistant\n{IMAGE_START}"


def generation(prompt: str | None) -> str:
    """Text to image; None gives the unconditional prompt."""
    return _drawing("Generate an image." if prompt is None else f"Generate an image: {prompt}")


def edit(instruction: str | None) -> str:
    """Edit a picture, still with its placeholder; None gives the unconditional prompt, which holds it too."""
    request = "Edit the image." if instruction is None else f"Edit the image: {instruction}"
    return _drawing(f"{request}\n{PLACEHOLDER}")


def chat(turns: Sequence[tuple[str, str]], question: str, pictures: int, system: str = CHAT_SYSTEM) -> str:
    """Questions and answers so far, then `question`, ready for the next answer; placeholders still in place.

    One picture that no question mentions is put before the first question (InternVL's rule)."""
    questions = [*(asked for asked, _ in turns), question]
    if pictures == 1 and not any(PLACEHOLDER in asked for asked in questions):
        questions[0] = f"{PLACEHOLDER}\n{questions[0]}"
    text = turn("system", system)
    for asked, (_, answer) in zip(questions, turns, strict=False):
        text += turn("user", asked) + turn("assistant", answer)
    return f"{text}{turn('user', questions[-1])}{TURN_START}assistant\n"


def expand(text: str, image_tokens: Iterable[int]) -> str:
    """Replace the placeholders, from the left, by as many image tokens as each picture has."""
    for count in image_tokens:
        text = text.replace(PLACEHOLDER, f"{IMAGE_START}{IMAGE_CONTEXT * count}{IMAGE_END}", 1)
    return text
