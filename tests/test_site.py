"""The built site: nothing from elsewhere, and in a browser typeset equations, working sliders, no errors.

Build it first: ``jupyter-book build . -W -n --keep-going``.
"""

import os
import re
import shutil
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlipbook.bookkit import lowering, notebooks
from mlipbook.bookkit.records import format_value

HTML = Path(__file__).parents[1] / "_build" / "html"
PAGES = sorted(path for path in HTML.glob("book/*.html"))
CHAPTERS = [path for path in PAGES if path.name.startswith("ch")]
NOTEBOOKS = [*CHAPTERS, *(HTML / "book" / f"{path.stem}.html" for path in notebooks.PAGES)]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


def missing(what: str) -> None:
    """Skip on a user's machine; CI must have it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session", autouse=True)
def built():
    if not CHAPTERS:
        missing("no built site: run make html")


# ---- static


class Loads(HTMLParser):
    """Addresses that a page loads by itself, and the text of its scripts."""

    def __init__(self):
        super().__init__()
        self.found, self.in_script = [], False

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.in_script = tag == "script"
        if tag in ("script", "link", "img", "iframe", "source", "video", "audio", "object", "embed"):
            address = values.get("src") or values.get("href") or values.get("data") or ""
            if re.match(r"(https?:)?//", address):
                self.found.append(f"<{tag}> {address}")

    def handle_data(self, data):
        if self.in_script:
            self.found += [f"script text {address}" for address in re.findall(r"https?://[^\"' ]+", data)]

    def handle_endtag(self, tag):
        self.in_script = False


def test_no_page_loads_anything_from_elsewhere():
    found = []
    for page in HTML.rglob("*.html"):
        parser = Loads()
        parser.feed(page.read_text())
        found += [f"{page.relative_to(HTML)}: {what}" for what in parser.found]
    for sheet in HTML.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text())
        found += [f"{sheet.relative_to(HTML)}: {address}" for address in addresses]
    assert found == []


def test_a_page_that_does_load_from_elsewhere_would_be_found():
    parser = Loads()
    parser.feed(
        '<script src="//cdn.example/x.js"></script><script>import("https://cdn.example/y.js")</script>'
    )
    parser.feed('<a href="https://example.org">a link is allowed</a><img src="data:image/png;base64,AA==">')
    assert parser.found == ["<script> //cdn.example/x.js", "script text https://cdn.example/y.js"]


def test_every_image_has_alternative_text():
    for page in NOTEBOOKS:
        images = re.findall(r"<img [^>]*>", page.read_text())
        bare = [image[:120] for image in images if not re.search(r'alt="[^"]{10,}"', image)]
        assert bare == [], page.name


def test_notebooks_open_in_colab():
    for page in NOTEBOOKS:
        assert f'href="{lowering.colab("reader", page.stem)}"' in page.read_text()


def text_of(page: Path) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.read_text()))


def test_the_front_page_says_what_chapters_recorded():
    text, shown = text_of(HTML / "book" / "index.html"), 0
    source = (notebooks.BOOK / "index.md").read_text()
    for chapter, name in re.findall(r"\{record\}`(\w+): ([^`]*)`", source):
        item = notebooks.records(notebooks.read(notebooks.BOOK / f"{chapter}.ipynb"))[name]
        shown += f"{format_value(item['value'], item['sem'])} {item['unit']}" in text
    assert shown == source.count("{record}") > 5


def test_the_map_has_every_chapter_and_an_arrow_to_each_that_builds_on_another():
    html = (HTML / "book" / "index.html").read_text()
    [drawing] = re.findall(r'<svg class="mlip-map".*?</svg>', html, re.DOTALL)
    assert re.findall(r'href="(\w+)\.html"', drawing) == [page.stem for page in CHAPTERS]
    needs = re.search('aria-label="([^"]*)"', drawing)[1]
    assert "5 builds on 3, 4" in needs and "9 builds on 1, 6, 8" in needs
    assert drawing.count("<path") >= needs.count("builds on")


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_chapters_figures_and_exercises_have_the_chapter_s_number(page):
    own, html = str(int(page.stem[2:4])), page.read_text()
    assert re.search(rf'<h1><span class="section-number">{own}\. ', html)
    numbers = re.findall(r'caption-number">(?:Fig\.|Exercise) ([\d.]+)', html)
    assert numbers and all(number.split(".")[0] == own for number in numbers)


# ---- in a browser


@pytest.fixture(scope="session")
def browser():
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not executable:
        missing("no Chromium: install it, or name one in the variable CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site():
    """The site on a loopback server, where nothing but the site can be reached."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(browser, site):
    """A function that opens a page, waits for its equations, and returns it with the errors it reported."""
    contexts = []
    own = (site, "data:", "blob:")

    def open_page(path, width=1280, scheme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page, errors = contexts[-1].new_page(), []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(own) else errors.append(r.url))
        page.on("requestfailed", lambda request: errors.append(f"failed: {request.url}"))
        page.goto(f"{site}/{path.relative_to(HTML)}", wait_until="load")
        if page.locator(".math").count():
            page.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
            page.evaluate("MathJax.startup.promise.then(() => true)")
        return page, errors

    yield open_page
    for context in contexts:
        context.close()


pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


@pages
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_reports_no_error_and_typesets_its_equations(path, scheme, visit):
    page, errors = visit(path, scheme=scheme)
    assert errors == []
    formulas = page.locator("span.math, div.math")
    assert page.locator("mjx-container").count() >= formulas.count()
    assert page.locator("mjx-merror").count() == 0
    raw = [text for text in formulas.all_inner_texts() if re.search(r"\\[a-zA-Z(\[]|\$", text)]
    assert raw == []


@pages
def test_page_fits_a_telephone(path, visit):
    page, _ = visit(path, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    begins = "[...document.querySelectorAll('div.math mjx-math')].map(m => m.getBoundingClientRect().left)"
    assert min(page.evaluate(begins), default=0) >= 0


CUT = """() => [...document.querySelectorAll('.bd-article div.math, .bd-article table')].filter(element => {
  const right = Math.max(...[element, ...element.querySelectorAll('mjx-math')].map(
    part => part.getBoundingClientRect().right));
  for (let e = element; e && e.tagName !== 'ARTICLE'; e = e.parentElement)
    if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) return false;
  return right > document.querySelector('.bd-article').getBoundingClientRect().right + 1;
}).map(element => element.textContent.slice(0, 60))"""


@pages
@pytest.mark.parametrize("width", [400, 1280])
def test_what_is_wider_than_the_page_scrolls(path, width, visit):
    page, _ = visit(path, width=width)
    assert page.evaluate(CUT) == []


VISIBLE = """() => [...document.querySelectorAll('figure.mlip-slider')].map(figure => {
  const seen = [...figure.querySelectorAll('img')].filter(m => m.offsetWidth > 0 && m.naturalWidth > 0);
  return seen.map(m => m.alt).join('|') + ' / ' + figure.querySelector('output').textContent;
})"""
SLIDERS = [path for path in CHAPTERS if "mlip-slider" in path.read_text()]


def test_some_chapter_has_a_slider():
    assert SLIDERS


@pytest.mark.parametrize("path", SLIDERS, ids=lambda path: path.stem)
def test_sliders_change_their_own_frame(path, visit):
    page, errors = visit(path)
    figures = page.locator("figure.mlip-slider")

    def state():
        return page.evaluate(VISIBLE)

    for k in range(figures.count()):
        slider = figures.nth(k).locator("input[type=range]")
        before = state()
        slider.focus()
        key = "ArrowLeft" if slider.input_value() == slider.get_attribute("max") else "ArrowRight"
        page.keyboard.press(key)
        after = state()
        changed = [i for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        assert changed == [k]
        assert after[k].count("|") == 0 and not after[k].startswith(" /")
        assert slider.get_attribute("aria-valuetext") == after[k].split(" / ")[-1]
    assert errors == []


VIEWERS = [path for path in CHAPTERS if "mlip-viewer-map" in path.read_text()]
CANVASES = """() => {
  const inside = root => [...root.querySelectorAll('*')].flatMap(
    element => [element, ...(element.shadowRoot ? inside(element.shadowRoot) : [])]);
  return [...document.querySelectorAll('.mlip-viewer-structure')].map(
    viewer => inside(viewer).filter(element => element.tagName === 'CANVAS').length);
}"""


def test_some_chapter_has_a_trajectory():
    assert VIEWERS


@pytest.mark.parametrize("path", VIEWERS, ids=lambda path: path.stem)
def test_trajectories_are_drawn_when_the_reader_comes_to_them(path, visit):
    page, errors = visit(path)
    assert set(page.evaluate(CANVASES)) == {0}
    viewers = page.locator(".mlip-viewer")
    for k in range(viewers.count()):
        viewers.nth(k).scroll_into_view_if_needed()
        page.wait_for_function(f"({CANVASES})()[{k}] > 0")
    assert errors == []
