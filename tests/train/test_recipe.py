"""Shortcuts equal the plain forms, a stopped run goes on as if it had not stopped, a run loads as a checkpoint."""

import functools
import json
import shutil

import numpy as np
import pytest
import torch
from spar_engine.text import templates
from spar_engine.weights.checkpoint import Checkpoint
from spar_train import data, export, plot, ranks, text
from spar_train.condition import condition
from spar_train.lab import Lab
from spar_train.loop import Trainer, rate_at
from spar_train.pool import Pool
from spar_train.stages import SHARES, STAGES
from spar_train.stages.mllm import answer_logits
from spar_train.stages.unified import REST, agreement, edited_rows, meant
from spar_train.velocity import velocity
from spar_train.world import sample
from spar_train.world.scene import render


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tmp_path_factory.mktemp("nano")


@pytest.fixture(scope="module")
def lab(run):
    torch.set_num_threads(1)
    return Lab(run, list(STAGES))


def test_every_word_of_the_world_is_one_token(lab):
    for word in (" red", " triangles", " background", " bottom", " five", " left", "Segment", " distinct"):
        assert len(lab.texts.ids([word])[0]) == 1, word
    system = templates.chat([], "?", 1).split("<|im_end|>")[0]
    assert len(lab.texts.ids([system])[0]) < 12
    odd = "Zürich, 東京 & <b>42</b>!"
    assert lab.texts.tokenizer.decode(lab.texts.ids([odd])[0]) == odd


@pytest.mark.parametrize("edit", [False, True])
def test_frozen_condition_equals_the_plain_one(lab, edit):
    torch.manual_seed(0)
    words = ["a red star", "two blue circles and a green cross on a white background"]
    features = torch.randn(2, 16, lab.config.language.width) if edit else None
    ids, mask = (lab.texts.edits if edit else lab.texts.generation)(words)
    fast, fast_mask = condition(lab.model, ids, mask, features)
    plain, plain_mask = condition(lab.model, ids, mask, features, frozen=False)
    assert torch.equal(fast_mask, plain_mask)
    valid = plain_mask.bool()
    torch.testing.assert_close(fast[valid], plain[valid], rtol=2e-5, atol=2e-5)
    gradients = []
    for made in (fast, plain):
        lab.model.zero_grad(set_to_none=True)
        made[valid].square().sum().backward()
        gradients.append(lab.model.model.latent_queries.grad.clone())
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


def test_several_noise_levels_of_a_caption_equal_repeated_captions(lab):
    from spar_engine.modules.tap import taps

    torch.manual_seed(1)
    config, levels = lab.config.dit, 3
    latent = torch.randn(2 * levels, config.in_channels, config.sample_size, config.sample_size)
    timesteps = torch.randint(1, 999, (2 * levels,))
    caption, mask = torch.randn(2, 9, config.caption_width), torch.ones(2, 9, dtype=torch.int64)
    mask[1, 5:] = 0
    torch.nn.init.normal_(lab.model.model.dit.proj_out.weight)  # it starts at zero
    together, inner = velocity(lab.model, latent, timesteps, caption, mask, 2)
    with taps() as seen:
        alone = lab.model.velocity(
            latent, timesteps, caption.repeat_interleave(levels, 0), mask.repeat_interleave(levels, 0)
        )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(inner, seen["block_2"], rtol=1e-5, atol=1e-5)


def test_packed_questions_equal_chats_of_one_question(lab):
    rng = np.random.default_rng(0)
    features = lab.model.features(data.pixel_values(render(sample.training_scenes(rng, 1))))
    chat = [
        ("What color is the star?", "red"),
        ("Where is the red star?", "bottom left"),
        ("Describe the image.", "a red star"),
    ]
    logits, targets = answer_logits(lab, lab.texts.packed([chat]), features)
    at = 0
    for question, answer in chat:
        prompt = templates.expand(templates.chat([], question, 1), [16])
        before, after = lab.texts.ids([prompt, answer + "<|im_end|>"])
        ids = torch.tensor([before + after])
        levels = lab.model.levels(lab.model.embed(ids, features), torch.ones_like(ids))
        alone = lab.model.lm_head(levels[lab.config.language.depth][0, len(before) - 1 : -1])
        assert targets[at : at + len(after)].tolist() == after
        torch.testing.assert_close(logits[at : at + len(after)], alone, rtol=1e-4, atol=1e-4)
        at += len(after)
    assert at == len(targets)


def test_masks_keep_branches_apart():
    seen = text.packed_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]))[0, 0]
    assert seen.int().tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0],
                                   [1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1]]  # fmt: skip


def test_every_stage_has_a_share_of_the_minutes():
    assert set(SHARES) == set(STAGES)


def test_rate_warms_up_and_anneals():
    assert rate_at(0, 0.0) < 0.05
    assert rate_at(1000, 0.0) == 1.0
    assert rate_at(1000, 1.0) == pytest.approx(0.03)


def test_pool_gives_whole_batches_and_meets_samples_again():
    made = []

    def make(rng, batch):
        made.append(batch)
        first = sum(made[:-1])
        return {"x": torch.arange(first, first + batch), "name": [str(i) for i in range(first, first + batch)]}

    pool = Pool(make)
    for step in range(12):
        items = pool.draw(np.random.default_rng(step), 16)
        assert len(items["x"]) == 16
        assert items["name"] == [str(int(i)) for i in items["x"]]
    assert sum(made) < 12 * 16 * 0.6


@pytest.fixture
def fresh(lab, tmp_path):
    """A name -> a new run's folder, with the tokenizer that is already trained."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copyfile(lab.run / "tokenizer.json", folder / "tokenizer.json")
        return folder

    return make


def trainer(run, name, steps):
    torch.manual_seed(0)
    return small(Lab(run, list(STAGES)), name, steps)


def small(lab, name, steps):
    stage = STAGES[name](lab)
    stage.batch = 2
    if getattr(stage, "edits", 0):
        stage.edits = 1
    return Trainer(lab, stage, minutes=1.0, steps=steps)


def test_a_stopped_stage_goes_on_as_if_it_had_not_stopped(fresh):
    whole = trainer(fresh("a"), "tokenizer1", 4)
    for _ in range(4):
        whole.train_step()
    run = fresh("b")
    first = trainer(run, "tokenizer1", 4)
    for _ in range(2):
        first.train_step()
    first.save()
    second = trainer(run, "tokenizer1", 4)
    assert second.step == 2
    for _ in range(2):
        second.train_step()
    for name, value in whole.trained.items():
        torch.testing.assert_close(second.trained[name], value, rtol=0, atol=0)
    torch.testing.assert_close(second.ema, whole.ema, rtol=0, atol=0)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_trains_its_own_tensors_and_no_others(run, name):
    made = trainer(run, name, 2)
    before = {k: v.clone() for k, v in made.lab.tensors().items()}
    for _ in range(2):  # outputs that start at zero let gradients through from the second step on
        seen, samples = made.train_step()
    assert samples > 0
    assert all(np.isfinite(v) for v in seen.values())
    changed = {k for k, v in made.lab.tensors().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(any(k.startswith(p) for p in made.stage.parts) for k in changed)
    parts = {p for p in made.stage.parts if any(k.startswith(p) for k in changed)}
    assert parts == set(made.stage.parts) - set(made.lab.absent())


def test_a_run_becomes_a_checkpoint_and_a_picture_of_its_curves(run, lab, tmp_path):
    folder = run / "autoencoder"
    folder.mkdir(exist_ok=True)
    lines = [{"step": 1, "elapsed": 60.0, "loss": 0.5}, {"step": 2, "elapsed": 120.0, "eval_psnr": 12.0}]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mark = torch.full((3,), 0.25)
    torch.save({"model.vae_decoder.decoder.conv_out.bias": mark}, folder / "learned.pt")
    export.export(run, tmp_path / "out")
    opened = Checkpoint.open(tmp_path / "out")
    assert opened.config == Lab(run, list(STAGES)).config
    assert not opened.ignored
    assert (opened.f32("model.vae_decoder.decoder.conv_out.bias") == 0.25).all()
    size = sum(f.stat().st_size for f in (tmp_path / "out").rglob("*") if f.is_file())
    assert size <= 20_000_000
    told = json.loads((tmp_path / "out" / "training.json").read_text())
    assert told["autoencoder"] == {"steps": 2, "minutes": 2.0, "psnr": 12.0}
    plot.plot(run, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(("without", "gone"), [("router", "dynamic_router."), ("pixel-stream", "pixel_transformer.")])
def test_an_ablated_run_lacks_the_part_and_still_trains(fresh, without, gone):
    run = fresh("run")
    lab = Lab(run, list(STAGES), without=without)
    assert not any(gone in name for name in lab.tensors())
    again = Lab(run, list(STAGES))  # remembered
    assert again.without == without
    made = small(again, "unified1" if without == "router" else "tokenizer1", steps=1)
    seen, _ = made.train_step()
    assert all(np.isfinite(v) for v in seen.values())
    with pytest.raises(SystemExit, match="another folder"):
        Lab(run, list(STAGES), without="alignment")


def test_processes_average_their_gradients(tmp_path):
    """Two processes, each with its own tensor: both end with the mean, and agree on the first one's number."""
    ranks.run(2, functools.partial(_average, str(tmp_path)))
    for rank in (0, 1):
        values = torch.load(tmp_path / f"{rank}.pt")
        assert values["mean"].tolist() == [0.5, 1.5]
        assert values["agreed"] == 10.0


def _average(folder: str) -> None:
    tensor = torch.tensor([0.0, 1.0]) + ranks.rank()
    ranks.average([tensor])
    torch.save({"mean": tensor, "agreed": ranks.agreed(10.0 + ranks.rank())}, f"{folder}/{ranks.rank()}.pt")


def test_a_condition_agrees_with_the_painter_where_its_rows_are_the_painters(lab):
    torch.manual_seed(3)
    rows = lab.heads.painted.pictures(torch.randn(2, 32, 4, 4))
    words = lab.heads.painted.nothing().repeat(2, 5, 1)
    mask = torch.ones(2, 21, dtype=torch.int64)
    mask[0, 3:5] = 0
    caption, ids = torch.cat((words, rows), dim=1), torch.zeros(2, 5, dtype=torch.int64)
    assert agreement(lab, caption, mask, rows, ids).item() == 0.0
    caption[0, 4] += 1.0  # padding says nothing
    assert agreement(lab, caption, mask, rows, ids).item() == 0.0
    caption[1, 4] += 1.0
    assert agreement(lab, caption, mask, rows, ids).item() == pytest.approx(REST / 8)
    caption[1, 7] += 1.0
    assert agreement(lab, caption, mask, rows, ids).item() == pytest.approx(REST / 8 + 1 / 32)


def test_with_a_source_picture_its_tokens_agree(lab):
    torch.manual_seed(4)
    rows = lab.heads.painted.pictures(torch.randn(1, 32, 4, 4))
    nothing = lab.heads.painted.nothing().expand(1, 18, -1)
    ids = torch.tensor([[0] + [lab.config.image_token_id] * 16 + [0]])
    caption = torch.cat((nothing[:, :1], rows, nothing[:, 1:]), dim=1)
    assert agreement(lab, caption, torch.ones(1, 34, dtype=torch.int64), rows, ids).item() == 0.0
    assert agreement(lab, caption.flip(1), torch.ones(1, 34, dtype=torch.int64), rows, ids).item() > 0.1


def test_without_an_instruction_the_painter_may_draw_anything(lab):
    torch.manual_seed(5)
    items = {"words": ["Remove the red star.", None], "latent": torch.randn(2, 32, 4, 4)}
    rows, painted = edited_rows(lab, items), lab.heads.painted
    assert torch.equal(rows[0], painted.pictures(items["latent"])[0])
    assert torch.equal(rows[1], painted.requests([None])[0])
    before, after, words = data.edit_pairs(np.random.default_rng(0), 200)
    same = (data.cells(before) == data.cells(after)).all(-1).all(-1).numpy()
    assert same.tolist() == [w is None for w in words]
    assert 5 <= same.sum() <= 40


def test_meanings_are_read_from_the_pictures_rows_and_from_the_queries(lab):
    """Each of the two heads sees its own rows, cell by cell, and cells that change count once more."""
    torch.manual_seed(6)
    before, after, words = data.edit_pairs(np.random.default_rng(1), 6)
    cells = data.cells(after)
    items = {"after": cells, "changed": (data.cells(before) != cells).any(-1)}
    ids, _ = lab.texts.edits(words)
    depth, tokens = lab.config.language.depth, ids.shape[1] + lab.config.query_count
    levels = {i: torch.randn(6, tokens, lab.config.language.width, requires_grad=True) for i in range(depth + 1)}
    meant(lab, levels, ids, items).backward()
    touched = {i for i, level in levels.items() if level.grad is not None}
    assert touched == {depth - 2, depth}
    strength = [levels[i].grad.abs().sum(-1) for i in (depth - 2, depth)]
    assert torch.equal(strength[0] > 0, torch.nn.functional.pad(ids == lab.config.image_token_id, (0, 16)))
    assert torch.equal(strength[1] > 0, torch.arange(tokens).expand(6, -1) >= ids.shape[1])
    queries = strength[1][:, ids.shape[1] :]
    assert queries[items["changed"]].mean() > 2 * queries[~items["changed"]].mean()
