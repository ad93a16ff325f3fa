"""The page at `/`: served whole, held to a strict policy, asking only for what the server has."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

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
