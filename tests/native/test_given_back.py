"""Memory that packing needed for a while: it is not held beside the packed weights."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import spar_engine
from spar_engine.backends.native import NativeBackend
from spar_engine.config import preset
from spar_engine.weights import Checkpoint, RandomWeights

TOKENIZER = Path(spar_engine.__file__).parent / "assets" / "spar-nano" / "tokenizer.json"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")


def mapped(path):
    """Bytes of this process's memory that mirror a file."""
    found = re.findall(rf"{re.escape(str(path))}\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
    assert found
    return sum(map(int, found)) << 10


def test_a_checkpoint_is_not_held_beside_its_packed_weights(tmp_path):
    tiny = preset("spar-tiny-random")
    config = replace(tiny, decoder=replace(tiny.decoder, channels=(16, 16, 64, 64, 256, 256)))
    RandomWeights(config).save(tmp_path / "model", TOKENIZER)
    backend = NativeBackend(Checkpoint.open(tmp_path / "model"), precision="bf16", threads=1)
    file, tensors = tmp_path / "model" / "model.safetensors", backend.checkpoint.names("decoder")
    parts = [backend.checkpoint.info(name).nbytes for name in tensors]
    large = sum(size for size in parts if size >= 1 << 20)  # smaller ones are not worth a call
    assert large > 8 << 20
    backend.checkpoint.verify_finite()  # reads everything, and gives back what is large
    before = mapped(file)
    for name in tensors:
        backend.checkpoint.raw(name).max()
    assert mapped(file) > before + 0.9 * large
    backend.load("decoder")
    assert mapped(file) < before + 0.1 * large
