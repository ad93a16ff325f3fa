"""`spar serve` as a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from spar_engine.cli import main

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")


def test_it_serves_and_ends_when_told(golden_dir):
    command = [sys.executable, "-m", "spar_engine", "serve", "-m", str(golden_dir("spar-tiny") / "checkpoint"),
               "-b", "torch", "--threads", "1", "--port", "0", "--no-warmup", "--log-format", "json",
               "--cache-bytes", "0"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "SPAR_API_KEY": "k" * 16})
    try:
        said = iter(process.stderr)
        url = next(found[0] for line in said if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/v1/models").status_code == 401
        assert httpx.get(f"{url}/v1/models", headers={"Authorization": "Bearer " + "k" * 16}).json()["data"][0]["id"]
        process.send_signal(signal.SIGTERM)
        logged = [json.loads(line) for line in said]
        assert "GET /v1/models" in " ".join(line["message"] for line in logged)
        assert {line["level"] for line in logged} == {"info"}
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("options", "message"), [
    (["--host", "0.0.0.0"], "set an API key"),
    (["--api-key-file", "/nowhere"], "/nowhere"),
    (["--max-images", "0"], "max_images=0"),
])  # fmt: skip
def test_bad_options_end_before_the_model_loads(options, message, capsys, monkeypatch):
    monkeypatch.delenv("SPAR_API_KEY", raising=False)
    monkeypatch.setattr("spar_engine.cli.serve.open_engine", lambda *_, **__: pytest.fail("the model was loaded"))
    assert main(["serve", *options]) == 2
    assert message in capsys.readouterr().err
