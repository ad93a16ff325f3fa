"""The page at `/`: served whole, held to a strict policy, asking only for what the server has."""

import base64
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import KEY

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

from spar_engine.server.page import PAGE  # noqa: E402

STATIC = Path(__file__).parents[2] / "engine" / "server" / "static"


class Found(HTMLParser):
    """Elements of a page, with what could run or load something."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.loads, self.inline = [], set(), [], []
        self._inside = None

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        self.loads += [given[name] for name in ("src", "href") if given.get(name)]
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        self._inside = tag

    def handle_data(self, data):
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)


@pytest.fixture(scope="module")
def page():
    found = Found()
    found.feed((STATIC / "page.html").read_text())
    return found


def test_the_page_needs_no_key_and_comes_with_a_strict_policy(server):
    with httpx.Client(base_url=server[0], timeout=60) as client:
        for path, (name, kind) in PAGE.items():
            answer = client.get(path)
            assert answer.status_code == 200
            assert answer.text == (STATIC / name).read_text()
            assert answer.headers["content-type"] == kind
            policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert policy["frame-ancestors"] == "'none'"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get("/page.html").status_code == 401  # no other path is open
        assert client.get("/../pyproject.toml").status_code == 401
        assert client.post("/").status_code in (401, 405)
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(page):
    assert page.inline == []
    assert sorted(page.loads) == ["page.css", "page.js"]
    for name, _ in PAGE.values():
        assert not re.search(r"https?:|//[a-z]|innerHTML|outerHTML|document\.write|eval\(|new Function", (
            STATIC / name).read_text().replace("// ", ""))  # fmt: skip


def test_the_script_finds_its_elements_and_the_server_its_routes(page, server):
    script = (STATIC / "page.js").read_text()
    wanted = set(re.findall(r'at\("([a-z-]+)"\)', script))
    assert wanted <= page.ids, wanted - page.ids
    tasks = set(re.findall(r'name="task" value="([a-z]+)"', (STATIC / "page.html").read_text()))
    assert tasks == {"generate", "edit", "segment", "reconstruct", "ask"}
    assert all(re.search(rf"^  {task}[:,]", script, re.M) for task in tasks)
    paths = set(re.findall(r'"(v1/[a-z/]+)"', script))
    assert len(paths) == 6
    with httpx.Client(base_url=server[0], timeout=60) as client:
        for path in paths:  # without a key every one of them exists, and refuses
            assert client.request("GET" if path == "v1/models" else "POST", f"/{path}").status_code == 401
    from spar_engine.server import chat, images, status

    assert {f"/{path}" for path in paths} <= {
        route.path for part in (chat, images, status) for route in part.routes.routes
    }


def test_the_script_runs_the_five_tasks(server, png, pixels, tmp_path):
    """page.js itself against the real server, in Node with a stand-in for the document; a browser it is not."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the page's script with")
    url, engine = server
    (tmp_path / "a.png").write_bytes(png)
    actions = [
        {"task": "generate", "text": "a red boat"},
        {"task": "edit", "text": "make it blue", "picture": True},
        {"task": "segment", "picture": True},
        {"task": "reconstruct", "picture": True},
        {"task": "ask", "text": "What is it?", "picture": True},
        {"task": "ask", "text": "And what else?", "picture": True},
        {"task": "edit", "text": "no picture"},
        {"task": "generate", "text": ""},
    ]
    command = [node, str(Path(__file__).with_name("page_harness.js")), str(STATIC / "page.js"), url, KEY]
    done = subprocess.run([*command, str(tmp_path / "a.png")], input="\n".join(map(json.dumps, actions)),
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    hello, drawn, edited, painted, again, asked, more, without, empty = map(json.loads, done.stdout.splitlines())
    assert hello == {"model": engine.config.name}
    options = {"seed": 7, "num_inference_steps": 4}
    assert [found["pictures"] for found in (drawn, edited, painted, again)] == [5, 5, 5, 1]  # four previews, the whole
    assert seen(drawn) == engine.generate("a red boat", **options).pictures[0].pixels.tobytes()
    assert seen(edited) == engine.edit(pixels, "make it blue", **options).pictures[0].pixels.tobytes()
    assert seen(painted) == engine.segment(pixels, **options).picture.pixels.tobytes()
    assert painted["regions"] == len(engine.segment(pixels, **options).regions)
    assert seen(again) == engine.reconstruct(pixels).pictures[0].pixels.tobytes()
    first = engine.ask(pixels, "What is it?", max_new_tokens=16).text
    assert asked["talk"] == ["What is it?", first]
    history = [("What is it?", first)] if first else []
    assert more["talk"][2:] == ["And what else?", engine.ask(pixels, "And what else?", history=history,
                                                             max_new_tokens=16).text]  # fmt: skip
    assert drawn["status"].endswith("s, seed 7")
    assert (without["error"], without["status"]) == (True, "choose a picture")
    assert empty["error"]
    assert "prompt is empty" in empty["status"]
    assert all(found["ready"] for found in (drawn, edited, painted, again, asked, more, without, empty))
    assert (drawn["imageHidden"], again["textHidden"], asked["imageHidden"]) == (True, True, False)


def seen(found):
    """Pixels of the last picture that was shown."""
    kind, data = found["last"].split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).tobytes()
