"""Pages quote committed results: what stands in them is what the results say."""

import json

import pytest
from spar_bench.quality import publish

SCORE = {"value": 0.91234, "low": 0.9, "high": 0.92, "samples": 300}
RECORD = {"about": {"samples": 300, "steps": 20, "seed": 0}, "text_to_image": {"overall": SCORE}}


def test_a_table_has_a_row_a_score_and_a_column_a_result(tmp_path):
    for name in ("onnxruntime-fp32", "native-bf16"):
        (tmp_path / f"{name}.json").write_text(json.dumps(RECORD))
    found = publish.records(tmp_path)
    assert list(found) == ["native-bf16", "onnxruntime-fp32"]
    lines = publish.table(found).splitlines()
    assert "| text to image, GenEval's six categories | 0.90 | 0.912 (0.900 … 0.920) | 0.912 (0.900 … 0.920) |" in lines
    assert "| questions, exact match | 0.95 | – | – |" in lines
    assert lines[0].endswith("| native-bf16, n = 300 | onnxruntime-fp32, n = 300 |")
    assert lines[-1].startswith("n samples a category and task, 20 steps")


def test_only_the_block_between_the_marks_changes():
    page = f"before\n{publish.BEGIN}\nold\n{publish.END}\nafter\n"
    assert publish.published(page, "new", "page") == f"before\n{publish.BEGIN}\nnew\n{publish.END}\nafter\n"
    with pytest.raises(SystemExit, match=r"page: needs one"):
        publish.published("no marks", "new", "page")


def test_ablations_stand_side_by_side(tmp_path):
    (tmp_path / "ablations").mkdir()
    for _, *files, _ in publish.ABLATIONS:
        for file in files:
            (tmp_path / f"{file}.json").write_text(json.dumps(RECORD))
    lines = publish.ablations(tmp_path).splitlines()
    assert len(lines) == 2 + sum(len(scores) for *_, scores in publish.ABLATIONS)
    assert "0.912 (0.900 … 0.920) | 0.912 (0.900 … 0.920) |" in lines[2]
    assert lines[3].startswith("|  | edits carried out | – | – |")


def test_the_training_page_quotes_the_committed_ablations():
    text = publish.TRAINING.read_text(encoding="utf-8")
    assert publish.published(text, publish.ablations(), publish.TRAINING.name) == text


@pytest.mark.parametrize("page", publish.PAGES, ids=lambda page: page.name)
def test_pages_quote_the_committed_results(page):
    text = page.read_text(encoding="utf-8")
    assert publish.published(text, publish.table(publish.records()), page.name) == text
