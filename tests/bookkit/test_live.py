"""The live page: its controls move its figures, its buttons start and stop, and no widget is ever stored."""

import asyncio
import json

import matplotlib.pyplot as plt
import pytest

from mlipbook.bookkit import frame, live, notebooks

widgets = pytest.importorskip("ipywidgets")
[PLAY] = notebooks.PAGES


async def until(happened):
    for _ in range(1000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("it did not happen within ten seconds")


def figure(height):
    fig, axes = plt.subplots(figsize=(1, 1))
    axes.plot([0, height])
    return fig


# ---- the plumbing


def test_of_a_hurry_of_moves_the_last_is_drawn():
    drawn = []

    def draw(a, b):
        drawn.append((a, b))
        return figure(a)

    async def session():
        a, b = widgets.IntSlider(1), widgets.IntSlider(2)
        *_, image = live.follow(draw, a=a, b=b).children
        before = image.value
        a.value, b.value, a.value = 5, 6, 7
        await until(lambda: image.value != before)
        a.value = 8
        await until(lambda: len(drawn) == 3)

    asyncio.run(session())
    assert drawn == [(1, 2), (7, 6), (8, 6)]


def test_an_error_stands_below_the_controls_and_the_next_move_draws_again():
    def draw(a):
        if a == 3:
            raise ValueError("no <3>")
        return figure(a)

    async def session():
        a = widgets.IntSlider(1)
        _, note, image = live.follow(draw, a=a).children
        before = image.value
        a.value = 3
        await until(lambda: note.value == "<b>ValueError</b>: no &lt;3&gt;")
        assert image.value == before
        a.value = 4
        await until(lambda: note.value == "")
        assert image.value != before

    asyncio.run(session())


def test_stop_stops_start_goes_on_and_restart_begins_anew():
    plt.close("all")  # those of other tests
    done = []

    def work():
        for k in range(1, 1001):
            done.append(k)
            yield k / 1000, figure(k)

    async def session():
        T = widgets.FloatSlider(1)
        controls = live.run(work, [T], figure(0)).children
        assert controls[0] is T and not done
        button, again, bar = controls[1].children
        button.click()
        await until(lambda: len(done) == 3)
        assert button.description == "stop" and bar.value == 0.003
        button.click()
        await until(lambda: button.description == "start")
        stopped = done.copy()
        await asyncio.sleep(4 * live.PAUSE)
        assert done == stopped
        button.click()
        await until(lambda: len(done) > len(stopped))
        assert done[len(stopped)] == stopped[-1] + 1
        again.click()
        await until(lambda: done.count(2) == 2)
        assert button.description == "stop"
        button.click()
        await until(lambda: button.description == "start")

    asyncio.run(session())
    assert plt.get_fignums() == []


def test_what_ended_begins_anew():
    done = []

    def work():
        done.append("begun")
        yield 1.0, figure(1)

    async def session():
        button, *_ = live.run(work, [], figure(0)).children[0].children
        for _ in range(2):
            button.click()
            await until(lambda: button.description == "stop")
            await until(lambda: button.description == "start")

    asyncio.run(session())
    assert done == ["begun", "begun"]


# ---- the page


def test_the_stored_page_is_as_its_stamp_says_and_begins_as_chapters_do():
    assert notebooks.problems(PLAY) == []
    setup, parameters = notebooks.read(PLAY)["cells"][1:3]
    assert (setup["source"], parameters["source"]) == (frame.SETUP, frame.PARAMETERS)


def test_each_figure_of_the_page_has_words_and_a_name_of_its_own():
    names = [name for path in [*notebooks.paths(), PLAY] for name in frame.figure_names(path)]
    assert sorted(names) == sorted(set(names)) and len(frame.figure_names(PLAY)) == 4
    for cell in notebooks.code_cells(notebooks.read(PLAY)):
        if "mystnb" in cell["metadata"]:
            assert "kernel" in cell["metadata"]["mystnb"]["figure"]["caption"]
            assert len(cell["metadata"]["mystnb"]["image"]["alt"]) > 40


MOVES = """
import asyncio

async def moved(page, act):
    before = page.children[-1].value
    act()
    for _ in range(2000):
        await asyncio.sleep(0.05)
        if page.children[-1].value != before:
            return
    raise AssertionError(f"the figure stands still: {page.children[-2].value}")

for page, control, value in (
    (weight_page, p_W, 1.0),
    *((atom_page, control, -0.5) for control in along.values()),
    (atom_page, lattice, 4.3),
    (gauge_page, share, 0.5),
    (gauge_page, zero, 0.1),
    (gauge_page, definition, "III"),
):
    await moved(page, lambda: setattr(control, "value", value))
start, restart, bar = melting_page.children[1].children
await moved(melting_page, start.click)
temperature.value = 600.0
await moved(melting_page, lambda: None)
start.click()
await asyncio.sleep(0.5)
assert start.description == "start" and 0 < bar.value < 1
"""


@pytest.mark.slow
def test_the_page_runs_and_each_control_moves_its_figure(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")  # put back afterwards
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path)
    page = json.loads(PLAY.read_text())
    page["cells"].append(
        {
            "cell_type": "code",
            "id": "moves",
            "metadata": {},
            "source": MOVES,
            "execution_count": None,
            "outputs": [],
        }
    )
    moving = tmp_path / "moving.ipynb"
    moving.write_text(json.dumps(page))
    executed, _ = notebooks.run(moving, "smoke", package=notebooks.ROOT)  # in an empty folder
    assert notebooks.problems(executed) == []
    stored = executed.read_text()
    assert live.PREVIEW not in stored and live.WIDGET not in stored
    assert len(notebooks.outputs(notebooks.read(executed), "image/png")) == 4
