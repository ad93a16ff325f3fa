"""Steps of several requests in one run of the DiT give the bits that each gives alone."""

import numpy as np
import pytest
from spar_engine.backends import together
from spar_engine.backends.native import PRECISIONS, NativeBackend
from spar_engine.components import components
from spar_engine.errors import InputError
from spar_engine.weights import Checkpoint

SIDES = (5, 7)


@pytest.fixture(scope="module")
def checkpoint(golden_dir):
    return Checkpoint.open(golden_dir("spar-tiny/checkpoint"))


def steps(backend, count):
    """Calls of requests at different steps, with prompts of different lengths, guided and not."""
    rng, made = np.random.default_rng(4), []
    spec = components(backend.config)
    for number in range(count):
        branches = 1 + (number != 2)
        caption = rng.standard_normal((branches, 3 + 9 * number, backend.config.dit.caption_width), dtype=np.float32)
        where = backend.run("context", {"caption": caption})
        inputs = spec["dit"].example(rng, batch=1, branch=branches, height=SIDES[0], width=SIDES[1], tokens=1)
        lengths = np.array([3 + 9 * number, 2][:branches], np.int64)
        made.append(inputs | {"cross_keys": where["cross_keys"], "cross_values": where["cross_values"],
                              "branches": np.zeros(branches, np.int64), "lengths": lengths})  # fmt: skip
    return made


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_joint_run_gives_the_bits_of_each_run_alone(checkpoint, precision, threads, isa):
    backend = NativeBackend(checkpoint, precision=precision, threads=threads, isa=isa)
    many = steps(backend, 4)
    alone = [backend.run("dit", inputs) for inputs in many]
    assert len({together.alike("dit", inputs) for inputs in many}) == 1
    for chosen in ([0, 1, 2, 3], [3, 2], [1]):
        picked = [many[index] for index in chosen]
        found = together.split(picked, backend.run("dit", together.join(picked)))
        for index, own in zip(chosen, found, strict=True):
            np.testing.assert_array_equal(own["velocity"], alone[index]["velocity"], strict=True)
    assert not np.array_equal(alone[0]["velocity"][0], alone[1]["velocity"][0])


def test_what_cannot_be_joined_runs_alone(checkpoint):
    backend = NativeBackend(checkpoint, precision="fp32", threads=1)
    first, other = steps(backend, 2)
    assert together.alike("decoder", {"latent": first["latent"]}) is None
    assert together.alike("dit", first | {"cross_keys": np.asarray(first["cross_keys"])}) is None
    assert together.alike("dit", first | {"latent": np.zeros((2, 32, *SIDES), np.float32)}) is None
    turned = first | {"latent": first["latent"].swapaxes(2, 3)}
    assert together.alike("dit", turned) != together.alike("dit", other)
    joined = together.join([first, other])
    assert joined["cross_keys"].shape == (4, 4, 4, 12, 32) == np.asarray(joined["cross_keys"]).shape
    wrong = joined | {"cross_keys": together.Several([other["cross_keys"]] * 2)}
    with pytest.raises(InputError, match="not of one call"):
        backend.run("dit", wrong | {"lengths": joined["lengths"]})
    with pytest.raises(InputError, match="`lengths` has 12, but the keys hold 1 to 3 tokens"):
        backend.run("dit", joined | {"lengths": np.full(4, 12)})
