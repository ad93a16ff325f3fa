"""The carried golden vectors: their size, and that they are the ones of the whole set."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
WHOLE = HERE.parents[2] / "shared" / "golden"


def files():
    return [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_within_fifteen_mebibytes():
    assert sum(path.stat().st_size for path in files()) <= 15 * 2**20


@pytest.mark.skipif(not WHOLE.is_dir(), reason="shared/golden is not beside the checkout")
def test_unchanged_copies():
    copied = [path for folder in ("spar-tiny", "schedulers") for path in (HERE / folder).rglob("*") if path.is_file()]
    assert len(copied) > 20
    for path in copied:
        assert path.read_bytes() == (WHOLE / path.relative_to(HERE)).read_bytes(), path


@pytest.mark.skipif(not WHOLE.is_dir(), reason="shared/golden is not beside the checkout")
def test_excerpt_is_of_the_whole(golden_tensors):
    excerpt, whole = golden_tensors("excerpts/unilip-tiny-edit"), golden_tensors("unilip-tiny/edit")
    for name, tensor in excerpt.items():
        assert (tensor == whole[name]).all(), name


def test_missing_vectors_skip(golden):
    with pytest.raises(pytest.skip.Exception, match="nothing-of-the-kind is neither in tests/golden nor in shared"):
        golden("nothing-of-the-kind")
