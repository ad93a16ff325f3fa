"""The stages of `make gpu-check` for TensorRT and ONNX Runtime, over stand-ins for what only a GPU machine has."""

from __future__ import annotations

import json

import numpy as np
from spar_bench.gpu_check import __main__ as gpu_check
from spar_bench.gpu_check import engines
from spar_bench.gpu_check.stages import Rows
from spar_engine.doctor.compare import Row


class Backend:
    """Answers with its weights' seed; its precision is float32."""

    precision = "fp32"

    def __init__(self, seed=0, sticky=False):
        self.seed, self.sticky = seed, sticky

    def run(self, component, inputs):
        return {"velocity": np.full(3, self.seed, np.float32)}

    def refit(self, weights):
        self.seed = self.seed + 1 if self.sticky else weights.seed


def found(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_stages_are_skipped_where_a_library_is_missing():
    needs = {stage.name: stage.needs for stage in gpu_check.stages()}
    assert "module:tensorrt_rtx" in needs["tensorrt-rtx"]
    assert "module:tensorrt" in needs["tensorrt"]
    assert "module:onnxruntime" in needs["onnxruntime-cuda"]


def test_a_component_outside_tolerance_fails_the_stage(tmp_path, weights, monkeypatch):
    def rows_of(passed):
        return lambda *given, **more: [Row("dit", "velocity", passed, 0.5, 0.1, "absolute")]

    for passed in (True, False):
        monkeypatch.setattr(engines, "examine_components", rows_of(passed))
        rows = Rows(tmp_path / str(passed))
        engines.compare(rows, Backend(), weights, "rtx")
        assert rows.close() == int(not passed)
        first, last = found(tmp_path / str(passed))
        assert (first["name"], first["ok"]) == ("rtx dit velocity", passed)
        assert last["name"] == "dit-step rtx"
        assert last["ms"] >= 0


def test_weights_that_do_not_come_back_fail_the_stage(tmp_path, weights):
    class Seeded:
        config, seed = weights.config, 0

    for sticky in (False, True):
        rows = Rows(tmp_path / str(sticky))
        engines.again(rows, Backend(sticky=sticky), Seeded, "rtx-stripped")
        assert rows.close() == int(sticky)


def test_what_is_built_of_a_flavour():
    assert list(engines.variants("rtx", "sm86")) == ["rtx", "rtx-stripped", "rtx-cut"]
    assert list(engines.variants("rtx", "sm120")) == ["rtx", "rtx-stripped", "rtx-cut", "rtx-fp8"]
    assert list(engines.variants("tensorrt", "sm90")) == ["tensorrt", "tensorrt-stripped", "tensorrt-fp8"]


def test_a_picture_that_differs_fails_the_stage(tmp_path, weights):
    """A backend whose whole picture is that of its steps, and one whose is not."""

    class Drawing:
        def __init__(self, off):
            self.off = off

        def run(self, component, inputs):
            d = weights.config.dit
            if component == "context":
                return {"cross_keys": np.zeros((1, 2, 1, 64, 1)), "cross_values": np.zeros((1, 2, 1, 64, 1))}
            if component == "modulation":
                steps = len(inputs["timesteps"])
                return {"modulation": np.zeros((steps, d.depth, 6, d.width)),
                        "final_modulation": np.zeros((steps, 2, d.width))}  # fmt: skip
            if component == "dit":
                return {"velocity": np.repeat(inputs["latent"], 2, axis=0)}
            shape = (1, 3, 4, 4)
            if component == "image":
                return {"image": np.ones(shape) + self.off}
            return {"image": np.ones(shape)}

    for off in (0.0, 0.5):
        rows = Rows(tmp_path / str(off))
        engines.picture(rows, Drawing(off), weights, "rtx")
        assert rows.close() == int(off > 0)
        (row,) = found(tmp_path / str(off))
        assert (row["name"], row["ok"]) == ("picture rtx", off == 0)
        assert row["single_ms"] >= 0


def test_a_build_of_onnxruntime_without_cuda(tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        assert engines.main(["onnxruntime", str(tmp_path / "rows")]) == 0
        assert "no CUDA provider" in found(tmp_path / "rows")[0]["skipped"]
