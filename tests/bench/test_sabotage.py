"""Cheating kernels do not get a number: one wrong element, half of the work, kept results, work after the clock."""

import numpy as np
import pytest
from spar_bench.harness.measure import LocalPlayer, measure
from spar_bench.harness.policy import QUICK
from spar_bench.harness.subject import BenchError
from spar_bench.harness.synthetic import KINDS, Asynchronous, Scale, ScaleOracle
from spar_bench.harness.verify import verify
from spar_bench.kernels.case import Shape, Work, case, cases, widen
from spar_bench.kernels.oracle import WorkOracle
from spar_bench.kernels.subjects import NativeKernel, OurVariant


def refusal(subject, oracle):
    with pytest.raises(BenchError) as caught:
        verify("subject", subject, oracle)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_honest_kernel_passes():
    oracle = ScaleOracle()
    check = verify("honest", Scale(oracle, slots=4), oracle)
    assert 0 < check.worst().share <= 1
    assert check.seeds == (0, 1)


def test_one_wrong_element_is_caught():
    assert "on its first call" in refusal(KINDS["wrong-element"](ScaleOracle()), ScaleOracle())


def test_half_of_the_work_is_caught():
    assert "is wrong on its first call" in refusal(KINDS["half-work"](ScaleOracle()), ScaleOracle())


def test_half_of_the_work_is_caught_though_the_rest_was_done_before():
    """Without poison the lower half of an earlier call would be there to be found."""
    oracle = ScaleOracle()
    subject = KINDS["half-work"](oracle)
    subject.fill(0, 0)
    Scale.run(subject, 0)
    assert "largest error inf" in refusal(subject, oracle)


def test_results_kept_by_address_are_caught():
    assert "kept between calls" in refusal(KINDS["kept-by-address"](ScaleOracle()), ScaleOracle())


def test_results_kept_by_content_are_never_asked_for():
    """Such a kernel is right; it must not look fast. No timed call may have inputs that were there before."""
    oracle = ScaleOracle()
    subject = KINDS["kept-by-content"](oracle)
    player = LocalPlayer("kept", subject, oracle)
    player.ready(0.01, 8)
    subject.hits = 0
    timed = sum(len(player.turn().samples) for _ in range(4))
    assert timed >= 4
    assert subject.hits <= 4  # the audits, which are not timed


def test_a_clock_that_stops_before_the_work_is_caught():
    reason = refusal(Asynchronous(ScaleOracle()), ScaleOracle())
    assert "still changes after" in reason or "is wrong" in reason


def test_waiting_in_sync_is_enough():
    class Waiting(Asynchronous):
        def sync(self):
            import threading

            for thread in threading.enumerate():
                if thread is not threading.current_thread() and thread.name.startswith("Thread-"):
                    thread.join()

    oracle = ScaleOracle()
    assert verify("waiting", Waiting(oracle), oracle).worst().share <= 1


def test_constant_input_is_refused():
    assert "is constant (0)" in refusal(Scale(ScaleOracle(flat=True)), ScaleOracle(flat=True))


def test_input_that_is_not_finite_is_refused():
    class Infinite(ScaleOracle):
        def inputs(self, seed):
            made = super().inputs(seed)
            made["x"][0, 0] = np.inf
            return made

    assert "is not finite" in refusal(Scale(ScaleOracle()), Infinite())


def test_a_check_that_cannot_tell_seeds_apart_is_refused():
    class Blind(ScaleOracle):
        def errors(self, outputs, seed):
            return super().errors(self.expected(seed), seed)

    assert "proves nothing" in refusal(Scale(ScaleOracle()), Blind())


def test_a_kernel_that_breaks_after_its_check_loses_its_row():
    class Later(Scale):
        calls = 0

        def run(self, slot):
            super().run(slot)
            self.calls += 1
            if self.calls > 40:
                self.y[slot][3, 3] += 1

    oracle = ScaleOracle()
    done = measure([LocalPlayer("later", Later(oracle), oracle), LocalPlayer("honest", Scale(oracle), oracle)], QUICK,
                   accept_noise=True)  # fmt: skip
    assert "after it was timed" in done["later"].problem
    assert done["later"].summary is None
    assert done["honest"].summary is not None


def test_turns_before_a_kernel_broke_are_no_result():
    class BreaksInItsSecondTurn(LocalPlayer):
        turns = 0

        def turn(self):
            self.turns += 1
            if self.turns == 2:
                honest = self.subject.run
                self.subject.run = lambda slot: (honest(slot), self.subject.y[slot].fill(0))
            return super().turn()

    oracle = ScaleOracle()
    found = measure([BreaksInItsSecondTurn("later", Scale(oracle), oracle)], QUICK, accept_noise=True)["later"]
    assert len(found.turns) == 1
    assert "after it was timed" in found.problem
    assert found.summary is None


# The same for the engine's own ops, in each dtype, at a size of the presets.

OPS = {
    "relu_linear_attention": (1, 3, 40, 32),
    "dynamic_token_routing": (4, 48, 128),
    "packed_product": (24, 64, 96, 1),
    "convolution": (1, 6, 6, 16, 32),
    "rms_norm": (12, 96),
    "layer_norm_modulate": (2, 6, 96),
    "attention": (40, 4, 2, 16, 1),
    "cross_attention": (2, 3, 3, 20, 40, 24),
    "depthwise_glu": (2, 5, 5, 24),
}
ROWS = [(op, dtype) for op in sorted(OPS) for dtype in case(op).dtypes]


def test_every_op_is_sabotaged():
    assert OPS.keys() == cases().keys()


def broken(op, dtype, tmp_path, spoil):
    """What verifying says of `spoil(run, result)` in place of a call: of the native backend's kernel, else the op's."""
    work = Work(case(op), Shape("test", OPS[op]), dtype)
    isas = work.case.isas()
    subject = NativeKernel(work, isas[0], 1, (0, 1)) if isas else OurVariant(work, work.case.variants()[0], (0, 1))
    honest = subject.run
    subject.run = lambda slot: spoil(lambda: honest(slot), subject.results[slot])
    return refusal(subject, WorkOracle(work, tmp_path, ours=True))


@pytest.mark.parametrize(("op", "dtype"), ROWS)
def test_an_honest_op_passes(op, dtype, tmp_path):
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        broken(op, dtype, tmp_path, lambda run, out: run())


@pytest.mark.parametrize(("op", "dtype"), ROWS)
def test_one_wrong_element_of_an_op_is_caught(op, dtype, tmp_path):
    def spoil(run, out):
        run()
        place = int(np.argmax(np.abs(widen(out))))
        # A hundredth of a float; of bf16 the upper bit of the fraction.
        out.flat[place] = out.flat[place] * np.float32(1.01) if out.dtype == np.float32 else out.flat[place] ^ 0x0040

    assert "1 of" in broken(op, dtype, tmp_path, spoil)


@pytest.mark.parametrize(("op", "dtype"), ROWS)
def test_half_of_the_work_of_an_op_is_caught(op, dtype, tmp_path):
    def spoil(run, out):
        before = out.copy()
        run()
        half = out.size // 2
        out.flat[half:] = before.flat[half:]

    assert "is wrong" in broken(op, dtype, tmp_path, spoil)


@pytest.mark.parametrize("op", sorted(OPS))
def test_kept_results_of_an_op_are_caught(op, tmp_path):
    kept = {}

    def spoil(run, out):
        if out.ctypes.data not in kept:
            run()
            kept[out.ctypes.data] = out.copy()
        out[...] = kept[out.ctypes.data]

    assert "kept between calls" in broken(op, "f32", tmp_path, spoil)
