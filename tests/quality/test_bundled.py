"""The bundled model, small samples: scores far below the committed ones are a defect of the engine or the files."""

import json

import numpy as np
import pytest
import spar_engine
from spar_bench.quality import evaluate, publish
from spar_engine import demo
from spar_engine.runtime.assemble import BUNDLED, DEFAULT

FOLDER = BUNDLED / DEFAULT


def quietly(what, number):
    return iter(range(number))


@pytest.fixture(scope="module", params=["native", "onnxruntime"])
def engine(request):
    pytest.importorskip("spar_engine._native" if request.param == "native" else "onnxruntime")
    with spar_engine.load(DEFAULT, backend=request.param) as opened:
        yield opened


@pytest.fixture(scope="module")
def committed():
    return json.loads((publish.RESULTS / "native-bf16.json").read_text())


def test_scores_hold_on_a_small_sample(engine, committed):
    """Each at least its committed score less three standard errors of so small a sample."""
    sheet, number = evaluate.Sheet(), 24
    asked = evaluate.asking(engine, number, 1, quietly)["exact_match"]
    drawn = evaluate.drawing(engine, 6, 1, quietly, sheet)["overall"]
    again = evaluate.reconstruction(engine, 8, 1, quietly, sheet)["psnr"]
    for found, part, name in ((asked, "understanding", "exact_match"), (drawn, "text_to_image", "overall")):
        share = committed[part][name]["value"]
        error = np.sqrt(max(share * (1 - share), 0.05) / found["samples"])
        assert found["value"] >= share - 3 * error, name
    assert again["value"] >= committed["reconstruction"]["psnr"]["value"] - 3


def test_files_are_small_and_say_where_they_come_from():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 20e6
    training = json.loads((FOLDER / "training.json").read_text())
    assert {"autoencoder", "tower", "mllm", "painter", "unified1", "sgt"} <= training.keys()
    assert "Data" in (FOLDER / "MODEL_CARD.md").read_text()


def test_the_demo_does_all_five_tasks(tmp_path, capsys):
    demo.main([str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {
        "grid.png", "source.png", "edited.png", "answer.txt", "segments.png", "reconstructed.png"
    }  # fmt: skip
    assert (tmp_path / "answer.txt").read_text().splitlines()[1]
    assert "spar-nano on " in capsys.readouterr().out
