"""A new plan is compared with torch before it is published, where there is a GPU for it; here a stand-in is the GPU."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from spar_engine.backends.plans.manifest import read_plans
from spar_engine.errors import BackendError, MissingDependency
from spar_export.tensorrt import parity
from spar_export.tensorrt.child import Ended
from spar_export.tensorrt.plans import export_plans
from spar_export.tensorrt.settings import settings_of

from . import fake
from .test_backend import FUNCTIONS, logits, plan_of

OFF = {"by": 0.0}


def off(given, weights):
    found = logits(given, weights)
    found["logits"] = found["logits"] + np.float32(OFF["by"])
    return found


@pytest.fixture
def built(weights, tmp_path, monkeypatch):
    """built(gpu): export lm_head through a builder that writes a plan of the stand-in."""
    from spar_engine.components import components

    device = fake.FakeDevice()
    package = fake.package(device, FUNCTIONS | {"logits": off})
    monkeypatch.setattr("spar_engine.backends.tensorrt.Device", lambda number: device)
    monkeypatch.setattr("spar_engine.backends.tensorrt.library", lambda flavour: package)
    monkeypatch.setattr("spar_export.tensorrt.stale.builder_version", lambda flavour: "tensorrt_rtx 0.0")
    monkeypatch.setattr("spar_export.tensorrt.flavours.Flavour.module", lambda self: package)

    def build(job, watch):
        with open(job["plan"], "wb") as file:
            file.write(plan_of(components(weights.config)["lm_head"], True))
        return Ended({"layers": 1}, 1)

    monkeypatch.setattr("spar_export.tensorrt.child.run", build)

    def run(gpu):
        def here():
            if gpu is None:
                raise MissingDependency("there is no NVIDIA driver on this machine")
            return gpu

        monkeypatch.setattr(parity, "capability", here)
        settings = dataclasses.replace(settings_of(gpu="sm86"), stripped=True)
        export_plans(weights, tmp_path / "out", settings, only=["lm_head"])
        return read_plans(tmp_path / "out").components["lm_head"].verified

    return run


def test_a_right_plan_is_published(built, tmp_path):
    OFF["by"] = 0.0
    assert built("sm86") == "sm86"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lm_head.plan", "manifest.json"]


def test_a_wrong_plan_is_not(built, tmp_path):
    OFF["by"] = 3.0
    with pytest.raises(BackendError, match=r"lm_head: `logits` of the new plan is wrong by .* it is not published"):
        built("sm86")
    assert list((tmp_path / "out").iterdir()) == []


def test_without_a_gpu_for_it_the_manifest_says_so(built):
    OFF["by"] = 3.0
    assert built(None) == "no, there was no GPU to run it on"


def test_another_gpu(built):
    OFF["by"] = 3.0
    assert built("sm90") == "no, this GPU is sm90"


def test_the_version_of_a_builder_that_no_package_tells(monkeypatch):
    import types
    from importlib.metadata import PackageNotFoundError

    from spar_export.tensorrt import stale
    from spar_export.tensorrt.flavours import FLAVOURS, Flavour

    def unknown(package):
        raise PackageNotFoundError(package)

    monkeypatch.setattr(stale, "version", unknown)
    monkeypatch.setattr(Flavour, "module", lambda self: types.SimpleNamespace(__version__="10.14.1"))
    assert stale.builder_version(FLAVOURS["tensorrt"]) == "tensorrt 10.14.1"

    def missing(self):
        raise MissingDependency("not here")

    monkeypatch.setattr(Flavour, "module", missing)
    assert stale.builder_version(FLAVOURS["tensorrt"]) == "not installed"
