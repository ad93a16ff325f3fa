"""The page at `/` in headless Chromium, as a visitor uses it: clicks, typing, a file, and what is then to be seen."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from .conftest import KEY

webdriver = pytest.importorskip("selenium.webdriver")
pytest.importorskip("uvicorn")

from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver (apt install chromium chromium-driver)"
)
OPTIONS = {"seed": 7, "num_inference_steps": 4}
# Notes every picture that the page shows, how far it says that it is, and every rule of its policy that is broken.
WATCH = """
window.shown = []; window.broken = []; window.done = [];
new MutationObserver(() => window.done.push(document.getElementById("bar").value))
  .observe(document.getElementById("bar"), { attributes: true, attributeFilter: ["value"] });
new MutationObserver((changes) => changes.forEach((c) => window.shown.push(c.target.src)))
  .observe(document.getElementById("result"), { attributes: true, attributeFilter: ["src"] });
document.addEventListener("securitypolicyviolation", (e) => window.broken.push(e.violatedDirective));
"""


class Visitor:
    """Hands and eyes on the page."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.get(url)
        driver.execute_script(WATCH)
        self.until(lambda: self.text("model") not in ("", "connecting"))

    def at(self, name):
        return self.driver.find_element("id", name)

    def text(self, name):
        return self.at(name).text

    def until(self, holds):
        WebDriverWait(self.driver, 180, poll_frequency=0.05).until(lambda _: holds())

    def write(self, name, value):
        field = self.at(name)
        field.clear()
        field.send_keys(value)

    def give_key(self, key):
        self.driver.find_element("tag name", "summary").click()
        self.write("key", key)
        self.at("model").click()  # leaving the field is what tells the page

    def start(self, task, text=None, picture=None):
        self.driver.find_element("css selector", f"input[value={task}]").click()
        if text is not None:
            self.write("text", text)
        if picture is not None:
            self.at("image").send_keys(str(picture))
        self.driver.execute_script("window.shown = []")
        self.at("go").click()

    def run(self, task, text=None, picture=None):
        """The pictures that were shown meanwhile, as arrays."""
        self.start(task, text, picture)
        self.until(lambda: self.at("go").is_enabled() and not self.at("stop").is_enabled())
        return [decoded(source) for source in self.driver.execute_script("return window.shown")]


def decoded(source):
    kind, data = source.split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "window-size=900,1200"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:  # both named: nothing is fetched
        yield driver


@pytest.fixture
def visitor(browser, server):
    browser.get_log("browser")  # what another test left there
    made = Visitor(browser, server[0])
    made.give_key(KEY)
    made.until(lambda: made.text("model") == server[1].config.name)
    for name, value in (("steps", "4"), ("guidance", "4.5"), ("seed", "7")):
        made.write(name, value)
    yield made
    assert browser.execute_script("return window.broken") == []
    wrong = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert [line for line in wrong if "/v1/models" not in line] == []  # that one was asked before the key was given


@pytest.fixture
def file(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png)
    return tmp_path / "a.png"


def test_a_picture_forms_step_by_step_before_the_visitor(visitor, server):
    shown = visitor.run("generate", "a red boat")
    assert len(shown) == 5  # four previews, the whole
    assert visitor.driver.execute_script("return window.done")[-4:] == [0.25, 0.5, 0.75, 1]
    wanted = server[1].generate("a red boat", **OPTIONS).pictures[0].pixels
    assert np.array_equal(shown[-1], wanted)
    picture = visitor.at("result")
    assert picture.is_displayed()
    assert visitor.driver.execute_script("return arguments[0].naturalWidth", picture) == wanted.shape[1]
    assert visitor.text("status").endswith("s, seed 7")
    assert not visitor.at("bar").is_displayed()


def test_pictures_are_edited_segmented_and_reconstructed(visitor, server, pixels, file):
    engine = server[1]
    assert np.array_equal(visitor.run("edit", "make it blue", file)[-1],
                          engine.edit(pixels, "make it blue", **OPTIONS).pictures[0].pixels)  # fmt: skip
    found = engine.segment(pixels, **OPTIONS)
    assert np.array_equal(visitor.run("segment", "")[-1], found.picture.pixels)  # the picture is still chosen
    assert len(visitor.driver.find_elements("css selector", "#regions li")) == len(found.regions)
    assert np.array_equal(visitor.run("reconstruct")[-1], engine.reconstruct(pixels).pictures[0].pixels)


def test_questions_are_answered_and_followed_up(visitor, server, pixels, file):
    engine = server[1]
    visitor.run("ask", "What is it?", file)
    first = engine.ask(pixels, "What is it?", max_new_tokens=16).text
    talk = [part.get_attribute("textContent") for part in visitor.driver.find_elements("css selector", "#talk > *")]
    assert talk == ["What is it?", first]
    visitor.run("ask", "And what else?")
    history = [("What is it?", first)] if first else []
    talk = [part.get_attribute("textContent") for part in visitor.driver.find_elements("css selector", "#talk > *")]
    assert talk[3] == engine.ask(pixels, "And what else?", history=history, max_new_tokens=16).text


def test_only_the_fields_of_a_task_are_shown(visitor):
    shown = {}
    for task in ("generate", "edit", "segment", "reconstruct", "ask"):
        visitor.driver.find_element("css selector", f"input[value={task}]").click()
        shown[task] = [name for name in ("text-row", "image-row", "sampling") if visitor.at(name).is_displayed()]
    assert shown == {"generate": ["text-row", "sampling"], "edit": ["text-row", "image-row", "sampling"],
                     "segment": ["text-row", "image-row", "sampling"], "reconstruct": ["image-row"],
                     "ask": ["text-row", "image-row"]}  # fmt: skip


def test_a_wrong_number_that_is_not_shown_holds_nothing_back(visitor, file):
    visitor.write("steps", "0")
    assert len(visitor.run("reconstruct", picture=file)) == 1


def test_a_narrow_window_holds_everything(visitor, file):
    narrow = {"width": 400, "height": 1200, "deviceScaleFactor": 1, "mobile": False}
    visitor.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    try:
        visitor.run("segment", "", file)
        visitor.run("ask", "word" * 30)
        wide = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, seen = visitor.driver.execute_script(wide)
        assert scrolled <= seen <= 400
    finally:
        visitor.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_stop_ends_the_request_here_and_on_the_server(visitor, server):
    def cancelled():
        return server[1].metrics()["requests"].get("generate", {}).get("cancelled", 0)

    visitor.write("steps", "1000")
    visitor.start("generate", "a long wait")
    visitor.until(lambda: visitor.text("status").startswith("step "))
    assert visitor.at("result").is_displayed()  # the preview, long before the end
    assert visitor.at("bar").is_displayed()
    before = cancelled()
    visitor.at("stop").click()
    visitor.until(lambda: visitor.text("status") == "stopped")
    visitor.until(lambda: cancelled() == before + 1)
    visitor.write("steps", "4")
    assert len(visitor.run("generate", "a red boat")) == 5  # and the page goes on


def test_mistakes_are_told_in_words(browser, server):
    stranger = Visitor(browser, server[0])
    assert "key" in stranger.text("model")
    stranger.run("generate", "a red boat")
    assert "key" in stranger.text("status")
    assert stranger.at("status").get_attribute("class") == "error"
    stranger.give_key(KEY)
    stranger.run("edit", "no picture")
    assert stranger.text("status") == "choose a picture"
    stranger.run("generate", "")
    assert "prompt is empty" in stranger.text("status")
