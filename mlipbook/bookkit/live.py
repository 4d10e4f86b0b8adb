"""Figures that move while a kernel runs: controls above a picture, what is computed in between. No physics.

All works in tasks of the kernel's event loop, a piece at a time; between two pieces it hears the controls. So
a stop comes after the piece at hand, of a hurry of moves the last is drawn, and no two pieces draw at once.
An `Image` shows it, since an `Output` mixes up what tasks print; ipywidgets may be 7.7 (Colab) or 8 (Lab). A
widget is never stored: its first picture travels with it, as PREVIEW, and takes its place when stored.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from io import BytesIO
from typing import Any, cast

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

WIDGET = "application/vnd.jupyter.widget-view+json"
PREVIEW = "application/vnd.mlipbook.preview+json"  # what is stored in the place of a widget
PAUSE = 0.05  # s, in which the kernel hears what happened to the controls


def picture(figure: Figure) -> bytes:
    """The figure as PNG of its own size, so that pictures do not jump; it is closed."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    plt.close(figure)
    return buffer.getvalue()


def follow(draw: Callable[..., Figure], **controls: Any) -> widgets.VBox:
    """Show controls above the figure that follows them: draw(name=value of that control, ...) makes it.

    It is called here once, and after each move; what it raises then stands below the controls.
    """

    def drawn() -> Figure:
        return draw(**{name: control.value for name, control in controls.items()})

    image, note, task = widgets.Image(value=picture(drawn())), widgets.HTML(), cast(asyncio.Task | None, None)

    async def redraw() -> None:
        with _telling(note):
            await asyncio.sleep(PAUSE)  # for moves that follow at once; values are read after it
            image.value = picture(drawn())

    def moved(_: Any) -> None:
        nonlocal task  # the loop itself keeps no hold of its tasks
        if task is None or task.done():
            task = asyncio.ensure_future(redraw())

    for control in controls.values():
        control.observe(moved, "value")
    return _show([*controls.values()], [note, image])


def run(
    work: Callable[[], Iterator[tuple[float, Figure]]], controls: Sequence[Any], preview: Figure
) -> widgets.VBox:
    """Show buttons for start, stop and restart of a computation above the figures that it yields.

    work: a generator function; it yields (share done, figure) after each piece of some tenths of a second,
    and reads the controls, which stand above the buttons, as it goes. preview: shown before it starts.
    """
    button, again = widgets.Button(description="start"), widgets.Button(description="restart")
    bar, note, image = widgets.FloatProgress(max=1.0), widgets.HTML(), widgets.Image(value=picture(preview))
    pieces, task = work(), cast(asyncio.Task | None, None)

    async def go() -> None:
        nonlocal pieces
        button.description = "stop"
        try:
            with _telling(note):
                for bar.value, figure in pieces:
                    image.value = picture(figure)
                    await asyncio.sleep(PAUSE)  # a stop arrives here
            pieces = work()  # all is done: the next start is from the beginning
        finally:
            button.description = "start"

    def clicked(anew: bool) -> None:
        nonlocal pieces, task
        stopped = task is not None and task.cancel()
        if anew:
            pieces = work()
        if anew or not stopped:
            task = asyncio.ensure_future(go())

    button.on_click(lambda _: clicked(anew=False))
    again.on_click(lambda _: clicked(anew=True))
    return _show(controls, [widgets.HBox([button, again, bar]), note, image])


@contextmanager
def _telling(note: widgets.HTML) -> Iterator[None]:
    note.value, after = "computing …", ""  # nobody would see a task's error: it stands below the controls
    try:
        yield
    except Exception as error:
        after = f"<b>{type(error).__name__}</b>: {escape(str(error))}"
    finally:
        note.value = after


def _show(controls: Sequence[Any], below: list[Any]) -> widgets.VBox:
    for control in controls:
        control.layout.width, control.style.description_width = "36em", "6em"
    box, image = widgets.VBox([*controls, *below]), below[-1]
    image.layout.max_width = "100%"
    preview = {"image/png": b64encode(image.value).decode(), "text/plain": "[picture of a widget]"}
    view = {"version_major": 2, "version_minor": 0, "model_id": box.model_id}
    display({WIDGET: view, "text/plain": "[widget]", PREVIEW: preview}, raw=True)
    return box
