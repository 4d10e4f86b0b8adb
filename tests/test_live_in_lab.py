"""The live page in JupyterLab with a kernel, in a headless browser: each control moves its figure."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlipbook.bookkit import notebooks

[PLAY] = notebooks.PAGES
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
WITHIN = 3.0  # s of one core from a move to its picture: kernel and server; waiting for others does not count
WAIT = 180_000  # ms, for a figure or a fit on a machine that others use, too
pytestmark = pytest.mark.slow


def missing(what):
    """Skip on a user's machine; CI must have it."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")
def page():
    executable = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not executable:
        missing("no Chromium: install it, or name one in the variable CHROMIUM")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 1400})
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab beside a copy of the page at smoke: (its process, its address with a token)."""
    psutil = pytest.importorskip("psutil")
    folder = tmp_path_factory.mktemp("lab")
    text = PLAY.read_text().replace('profile = \\"colab\\"', 'profile = \\"smoke\\"')
    (folder / "play.ipynb").write_text(text)
    settings = folder / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    every_cell = {"windowingMode": "none"}  # also those that are out of sight are in the page
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps(every_cell))
    own = {name: str(folder / name) for name in ("config", "runtime", "data")}
    environment = os.environ | {f"JUPYTER_{name.upper()}_DIR": path for name, path in own.items()}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONPATH": str(notebooks.ROOT)}
    words = ["--no-browser", "--port=0", "--allow-root", "--expose-app-in-browser", "--notebook-dir", folder]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *words],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(server.pid), _address(folder / "runtime", server)
    finally:
        server.terminate()
        server.wait(30)


def _address(runtime: Path, server: subprocess.Popen) -> str:
    for _ in range(600):
        for path in runtime.glob("jpserver-*.json"):
            known = json.loads(path.read_text())
            return f"{known['url']}lab/tree/play.ipynb?token={known['token']}"
        assert server.poll() is None, "JupyterLab ended"
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start within two minutes")


def cpu_seconds(server):
    """Of JupyterLab and its kernel so far."""
    times = [process.cpu_times() for process in [server, *server.children(recursive=True)]]
    return sum(t.user + t.system for t in times)


def source(picture):
    return picture.get_attribute("src")


def spent(server, page, picture, move):
    """Seconds of one core, and on the clock, from a move until the picture is another."""
    before, begun, start = source(picture), cpu_seconds(server), time.perf_counter()
    move()
    changed = "([image, before]) => image.src !== before"
    page.wait_for_function(changed, arg=[picture.element_handle(), before], timeout=WAIT)
    found = cpu_seconds(server) - begun, time.perf_counter() - start
    page.wait_for_timeout(300)  # a drag moves it more than once
    return found


def test_controls_move_figures_in_time_and_stop_stops(lab, page, tmp_path):
    server, address = lab
    page.goto(address)
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady", timeout=WAIT)
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    pictures, sliders = page.locator("img.widget-image"), page.locator(".noUi-handle")
    page.wait_for_function("document.querySelectorAll('img.widget-image').length === 4", timeout=WAIT)

    def drag(k):
        def move():
            handle = sliders.nth(k)
            handle.scroll_into_view_if_needed()
            box = handle.bounding_box()
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x - 30, y, steps=3)
            page.mouse.up()

        return move

    seconds = {}
    for k, figure in enumerate((0, 1, 1, 1, 1, 2, 3, 3)):
        if figure != 2:  # the temperature is read by a run
            seconds[f"slider {k}"] = spent(server, page, pictures.nth(figure), drag(k))
    choice = page.get_by_role("button", name="III", exact=True)
    seconds["definition"] = spent(server, page, pictures.nth(3), choice.click)

    start = page.get_by_role("button", name="start", exact=True)
    stop = page.get_by_role("button", name="stop", exact=True)
    seconds["start"] = spent(server, page, pictures.nth(2), start.click)
    drag(5)()
    seconds["a piece"] = spent(server, page, pictures.nth(2), lambda: None)
    stop.click()
    start.wait_for(timeout=WAIT)
    page.wait_for_timeout(500)
    still, begun = source(pictures.nth(2)), cpu_seconds(server)
    page.wait_for_timeout(2000)
    assert source(pictures.nth(2)) == still and cpu_seconds(server) - begun < 0.5

    for k in range(4):
        pictures.nth(k).scroll_into_view_if_needed()
        page.screenshot(path=tmp_path / f"{k}.png")
    print({name: (round(cpu, 2), round(clock, 2)) for name, (cpu, clock) in seconds.items()})
    assert {name: cpu for name, (cpu, _) in seconds.items() if cpu > WITHIN} == {}
    wrong = page.locator(".jp-Notebook").locator("[data-mime-type$='error'], [data-mime-type$='stderr']")
    assert wrong.all_inner_texts() == []
