"""The special tokens of the family (spec 5.1) and the rule that user text may not contain them."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError

END_OF_TEXT = "<|endoftext|>"  # pads
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
IMAGE_START = "<img>"
IMAGE_END = "</img>"
IMAGE_CONTEXT = "<IMG_CONTEXT>"
NAMES = (END_OF_TEXT, TURN_START, TURN_END, IMAGE_START, IMAGE_END, IMAGE_CONTEXT)

PLACEHOLDER = "<image>"  # where a picture goes; replaced before tokenization, never a token of a prompt

# InternVL users write these around regions in their questions; they frame no turn and no picture.
GROUNDING = frozenset({"<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialIds:
    """Ids of the special tokens in one tokenizer."""

    end_of_text: int
    turn_start: int
    turn_end: int
    image_start: int
    image_end: int
    image_context: int


def check_text(what: str, text: str, forbidden: tuple[str, ...], *, may_hold_placeholder: bool = False) -> str:
    """`text` unchanged; InputError unless it is a non-blank string of valid Unicode without special tokens.

    what       how errors call it, for example "prompt"
    forbidden  special tokens of the tokenizer, longest first
    """
    if not isinstance(text, str):
        raise InputError(f"{what} is {type(text).__name__}, expected str")
    if not text.strip():
        raise InputError(f"{what} is {'empty' if not text else 'blank'}; write some text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{what} holds a lone surrogate {text[error.start]!a} at character {error.start}; pass valid Unicode"
        ) from None
    for token in forbidden:
        if token in text and not (may_hold_placeholder and token == PLACEHOLDER):
            raise InputError(
                f"{what} holds the special token {token} at character {text.index(token)}; "
                "it would change the prompt's structure, remove it"
            )
    return text
