"""Chapters with another seed and other sizes: the table is complete, and what fails is named."""

import json
from types import SimpleNamespace

import pytest

from mlipbook import bookkit
from mlipbook.bookkit import notebooks, perturbed, profiles

CODE = (
    'profile = "colab"\nseed = 0',
    'from mlipbook import bookkit\nsize = bookkit.profile("template", profile)',
)


def notebook(*sources):
    cells = [
        {"cell_type": "code", "source": x, "metadata": {}, "outputs": [], "execution_count": None}
        for x in sources
    ]
    cells[0]["metadata"] = {"tags": ["parameters"]}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_every_chapter_of_the_book_can_be_changed(path):
    code = "\n".join(cell["source"] for cell in notebooks.code_cells(notebooks.read(path)))
    (name,) = perturbed.CALL.findall(code)
    changed = "\n".join(
        cell["source"] for cell in notebooks.code_cells(perturbed.edited(notebooks.read(path)))
    )
    sizes = perturbed.table()[name]
    assert f"\nseed = {sizes.pop('seed')}\n" in changed
    assert f'bookkit.profile("{name}", profile, **{sizes!r})' in changed


@pytest.mark.parametrize("name", perturbed.table())
def test_what_is_changed_differs_from_what_runs_here_and_from_what_is_stored(name):
    sizes = perturbed.table()[name]
    assert sizes.pop("seed") != 0
    assert sizes
    for profile in ("smoke", "colab"):
        stored = vars(profiles.profile(name, profile))
        profiles.profile(name, profile, **sizes)
        assert [key for key in sizes if sizes[key] == stored[key]] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "last, found",
    [
        ("assert (size.points, seed) == (7, 1)", []),
        ("{20: 'smoke', 100: 'colab'}[size.points]", ['"In [4]"', "KeyError"]),
        ("bookkit.check('large', size.points > 10, 'no')", ["In [4]", "check 'large' failed"]),
        ("bookkit.check('later', None, 'no')", []),
    ],
)
def test_a_chapter_that_fails_with_other_sizes_is_reported_by_name_and_cell(
    last, found, tmp_path, monkeypatch
):
    monkeypatch.setattr(notebooks, "EXECUTED", tmp_path / "executed")
    path = tmp_path / "ch98_mine.ipynb"
    path.write_text(json.dumps(notebook(*CODE, last)))
    failures = perturbed.failures(path, "smoke")
    assert len(failures) == bool(found)
    for line in failures:
        assert all(part in line for part in ("ch98_mine (perturbed, smoke)", *found))


@pytest.mark.parametrize(
    "sources, why",
    [
        ((CODE[0],), "0 calls"),
        ((CODE[0], CODE[1], CODE[1]), "2 calls"),
        (('profile = "colab"', CODE[1]), "0 lines"),
        ((CODE[0], CODE[1].replace("template", "mine")), "no table [mine]"),
    ],
)
def test_what_cannot_be_changed_is_refused(sources, why, tmp_path):
    path = tmp_path / "ch98_mine.ipynb"
    path.write_text(json.dumps(notebook(*sources)))
    (line,) = perturbed.failures(path, "smoke")
    assert line.startswith("ch98_mine") and why in line


def test_a_record_of_a_value_that_was_not_run_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(profiles, "show", lambda plain, html: said.append(plain))
    size = SimpleNamespace(p_W=[0, 0.3, 3], cells=3, settings=["32k"])
    assert bookkit.has(size, p_W=[0, 3], cells=3, settings="32k")
    assert said == []
    assert not bookkit.has(size, p_W=[0, 0.01], cells=4)
    text = "not recorded: p_W = 0.01 and cells = 4 is not in this run (p_W = 0, 0.3, 3; cells = 3)"
    assert said == [text]
