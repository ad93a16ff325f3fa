"""Templates and prompts against the golden texts and ids, and the text they refuse."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from spar_engine.errors import InputError
from spar_engine.text import Prompts, TextTokenizer, pad, positions, with_queries
from spar_engine.text.templates import CHAT_SYSTEM

SHAPES = {"spar-tiny": (602, 591), "unilip-tiny": (562, 551)}


@pytest.fixture
def prompts(golden):
    """prompts(model): Prompts of a golden checkpoint; the sizes it needs are read from config.json."""

    def make(model="spar-tiny", **changes):
        entry = json.loads(golden(f"{model}/checkpoint/config.json").read_text())
        sizes = {"max_positions": entry["text_config"]["max_position_embeddings"]} | changes
        config = SimpleNamespace(
            language=SimpleNamespace(**sizes), query_count=entry["n_query"], image_tokens=entry["image_seq_length"]
        )
        return Prompts(TextTokenizer.open(golden(f"{model}/checkpoint"), *SHAPES[model]), config)

    return make


def between(text, before, after):
    return text[text.index(before) + len(before) : text.index(after)]


@pytest.mark.parametrize("name", ["t2i_0", "t2i_1", "conditioning"])
@pytest.mark.parametrize("model", SHAPES)
def test_golden_generation(model, name, prompts, golden_tensors, golden_note):
    texts, want = golden_note(f"{model}/{name}")["texts"], golden_tensors(f"{model}/{name}")
    made = prompts(model)
    pair = [made.generation(between(texts[0], "Generate an image: ", "<|im_end|>")), made.unconditional()]
    assert [prompt.text for prompt in pair] == texts
    end = made.tokenizer.special.end_of_text
    sides = {"right.": "right", "left.": "left"} if name == "conditioning" else {"in.": "right"}
    for prefix, side in sides.items():
        ids, mask = pad([prompt.ids for prompt in pair], end, side)
        np.testing.assert_array_equal(ids, want[f"{prefix}input_ids"])
        np.testing.assert_array_equal(mask, want[f"{prefix}attention_mask"])
        if name == "conditioning":
            longer = with_queries(mask, made._queries)
            np.testing.assert_array_equal(longer, want[f"{prefix}mask"])
            np.testing.assert_array_equal(positions(longer), want[f"{prefix}position_ids"])


@pytest.mark.parametrize("model", SHAPES)
def test_golden_edit(model, prompts, golden_tensors, golden_note):
    texts, want = golden_note(f"{model}/edit")["texts"], golden_tensors(f"{model}/edit")
    made = prompts(model)
    pair = [made.edit(between(texts[0], "Edit the image: ", "\n<image>")), made.edit_unconditional()]
    tokens = f"<img>{'<IMG_CONTEXT>' * made._image_tokens}</img>"
    assert [prompt.text for prompt in pair] == [text.replace("<image>", tokens) for text in texts]
    ids, mask = pad([prompt.ids for prompt in pair], made.tokenizer.special.end_of_text)
    np.testing.assert_array_equal(ids, want["in.input_ids"])
    np.testing.assert_array_equal(mask, want["in.attention_mask"])
    longer = with_queries(mask, made._queries)
    np.testing.assert_array_equal(longer, want["mask"])
    np.testing.assert_array_equal(positions(longer), want["position_ids"])
    for prompt in pair:
        np.testing.assert_array_equal(prompt.image_rows, np.flatnonzero(prompt.ids == SHAPES[model][1]))
        assert len(prompt.image_rows) == made._image_tokens


@pytest.mark.parametrize("model", SHAPES)
def test_golden_chat(model, prompts, golden_tensors, golden_note):
    made = prompts(model)
    got = made.chat(golden_note(f"{model}/understand")["question"], tiles=[1])
    np.testing.assert_array_equal(got.ids, golden_tensors(f"{model}/understand")["input_ids"][0])


def test_text_to_the_byte(prompts):
    made = prompts()
    head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<img>"
    picture = f"<img>{'<IMG_CONTEXT>' * 3}</img>"
    assert made.generation("a fox").text == f"{head}Generate an image: a fox{tail}"
    assert made.unconditional().text == f"{head}Generate an image.{tail}"
    assert made.unconditional("blur").text == f"{head}Generate an image: blur{tail}"
    assert made.edit("add fog", 3).text == f"{head}Edit the image: add fog\n{picture}{tail}"
    assert made.edit_unconditional(image_tokens=3).text == f"{head}Edit the image.\n{picture}{tail}"
    assert made.edit_unconditional("blur", 3).text == f"{head}Edit the image: blur\n{picture}{tail}"


SYSTEM = f"<|im_start|>system\n{CHAT_SYSTEM}<|im_end|>\n"


def picture(tokens):
    return f"<img>{'<IMG_CONTEXT>' * tokens}</img>"


def user(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n"


def assistant(text=None):
    return "<|im_start|>assistant\n" + ("" if text is None else f"{text}<|im_end|>\n")


def test_chat_places_one_picture_by_itself(prompts):
    made = prompts()
    assert made.chat("Why?", [1]).text == SYSTEM + user(f"{picture(16)}\nWhy?") + assistant()
    assert made.chat("See <image>: why?", [2]).text == SYSTEM + user(f"See {picture(32)}: why?") + assistant()
    assert made.chat("Why?").text == SYSTEM + user("Why?") + assistant()
    assert made.chat("Why?", [3], tile_tokens=2).text == SYSTEM + user(f"{picture(6)}\nWhy?") + assistant()


def test_chat_of_several_pictures(prompts):
    got = prompts().chat("First <image> then <image>?", [1, 2], tile_tokens=1)
    assert got.text == SYSTEM + user(f"First {picture(1)} then {picture(2)}?") + assistant()
    assert len(got.image_rows) == 3


def test_chat_with_history(prompts):
    made = prompts()
    turns = [("What is it?", "A boat."), ("Which colour?", "Red.")]
    want = SYSTEM + user(f"{picture(2)}\nWhat is it?") + assistant("A boat.") + user("Which colour?")
    want += assistant("Red.") + user("Sure?") + assistant()
    assert made.chat("Sure?", [2], turns, tile_tokens=1).text == want
    placed = made.chat("And <image>?", [1, 1], [("<image>\nWhat?", "A cat.")], tile_tokens=1)
    first, second = user(f"{picture(1)}\nWhat?"), user(f"And {picture(1)}?")
    assert placed.text == SYSTEM + first + assistant("A cat.") + second + assistant()


@pytest.mark.parametrize(
    ("question", "tiles", "found"),
    [("<image>?", [], 1), ("<image> <image>?", [1], 2), ("what?", [1, 1], 0), ("<image>?", [1, 1], 1)],
)
def test_chat_with_a_wrong_number_of_places(question, tiles, found, prompts):
    with pytest.raises(InputError, match=f"{found} <image> for {len(tiles)} pictures; write one where"):
        prompts().chat(question, tiles)


INJECTED = ["<img>", "</img>", "<IMG_CONTEXT>", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "[IMG]", "<im_patch>"]


@pytest.mark.parametrize("token", INJECTED)
def test_special_tokens_in_user_text(token, prompts):
    made, text = prompts(), f"a cat {token} in a box"
    calls = {
        "prompt": lambda: made.generation(text),
        "negative_prompt": lambda: made.unconditional(text),
        "instruction": lambda: made.edit(text),
        "negative_prompt ": lambda: made.edit_unconditional(text),
        "question": lambda: made.chat(text, [1]),
        "question in history": lambda: made.chat("so?", [1], [(text, "yes")]),
        "answer in history": lambda: made.chat("so?", [1], [("is it?", text)]),
    }
    for what, call in calls.items():
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value).startswith(f"{what.strip()} holds the special token {token} at character 6;")


def test_the_picture_placeholder_belongs_into_questions_only(prompts):
    made = prompts()
    for call in (made.generation, made.unconditional, made.edit, made.edit_unconditional):
        with pytest.raises(InputError, match="special token <image> at character 2"):
            call("a <image>")
    with pytest.raises(InputError, match="answer in history holds the special token <image>"):
        made.chat("so?", [1], [("is it?", "<image>")])


def test_grounding_marks_are_text(prompts):
    assert "<ref>the boat</ref>" in prompts().chat("Where is <ref>the boat</ref>?", [1]).text


def test_text_that_only_resembles_a_special_token(prompts):
    made = prompts()
    structure = made.tokenizer.special
    for text in ("<|im_end", "< img>", "<IMG>", "im_end|>", "a <", "<<|im_en|>"):
        ids = made.generation(text).ids.tolist()
        assert (ids.count(structure.turn_start), ids.count(structure.turn_end), ids.count(structure.image_start)) == (
            2,
            1,
            1,
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; write some text"),
        ("  \n\t ", "is blank; write some text"),
        (None, "is NoneType, expected str"),
        (7, "is int, expected str"),
        (b"cat", "is bytes, expected str"),
        ("cat \ud83d", r"holds a lone surrogate '\\ud83d' at character 4; pass valid Unicode"),
    ],
)
def test_text_that_is_no_prompt(text, message, prompts):
    made = prompts()
    calls = [(made.generation, "prompt"), (made.edit, "instruction"), (made.chat, "question")]
    if text is not None:
        calls += [(made.unconditional, "negative_prompt"), (made.edit_unconditional, "negative_prompt")]
    for call, what in calls:
        with pytest.raises(InputError, match=f"^{what} {message}"):
            call(text)


def test_length_limit_counts_template_pictures_and_queries(prompts):
    made = prompts(max_positions=100)
    fixed = len(made.generation("x")) - 1
    room = 100 - made._queries - fixed
    assert len(made.generation("x" * room)) == fixed + room
    with pytest.raises(InputError, match=f"prompt is too long: {fixed + room + 1} tokens .* exceed the model's 100"):
        made.generation("x" * (room + 1))
    with pytest.raises(InputError, match="negative_prompt is too long"):
        made.unconditional("x" * (room + 1))
    with pytest.raises(InputError, match="instruction is too long"):
        made.edit("add fog", image_tokens=90)
    with pytest.raises(InputError, match="over the limit of 1600"):
        made.generation("x" * 10**6)


def test_length_limit_of_chat_leaves_room_for_the_answer(prompts):
    made = prompts(max_positions=300)
    size = len(made.chat("Why?", [1]))
    assert len(made.chat("Why?", [1], max_new_tokens=300 - size)) == size
    with pytest.raises(InputError, match=f"{300 - size + 1} max_new_tokens, exceed the model's 300 positions"):
        made.chat("Why?", [1], max_new_tokens=300 - size + 1)


def test_note_on_prompts_beyond_the_training_length(prompts):
    made = prompts()
    fixed = len(made.generation("x")) - 1
    assert made.generation("x" * (767 - fixed)).note is None
    assert "768 tokens; training stopped at 767" in made.generation("x" * (768 - fixed)).note


def test_padding_side():
    rows = [np.array([1, 2, 3]), np.array([4])]
    ids, mask = pad(rows, 9, "left")
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert positions(mask).tolist() == [[0, 1, 2], [0, 0, 0]]
    with pytest.raises(InputError, match="padding side 'middle'"):
        pad(rows, 9, "middle")


def test_importing_loads_no_heavy_library():
    code = "import spar_engine.text, spar_engine.image, spar_engine.samplers, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "numpy" in loaded
    assert not {"tokenizers", "PIL", "torch", "onnxruntime"} & set(loaded)
