"""Editions of the chapters for notebook programs, all from the notebooks of the book.

reader      what Colab opens: plain Markdown, outputs, solutions folded away
student     no solutions, no outputs in exercises, a cell for each answer
instructor  solutions open, the hidden tests after them, how long the chapter ran
otter       a master notebook for ``otter assign``: solutions, and the tests as hidden tests
"""

import ast
from itertools import groupby
from pathlib import Path
from textwrap import indent
from typing import Any

from . import notebooks
from .exercises import Part, parts, stub, tests
from .lowering import Book, colab, lower, page, prefix, read_book

EDITIONS = ("reader", "student", "instructor", "otter")
SLOW = 1.0  # seconds from which a cell is listed


def write(edition: str, out: Path, names: list[str] | None = None) -> list[Path]:
    """Write an edition of the chapters named, or of all, into a folder; returns the files.

    Readers also get the notebooks that are no chapters.

    Raises ValueError, before anything is written, where a chapter has markup with no plain form, for the
    folder of the book itself, and where the package is installed without the book.
    """
    if out.resolve() == notebooks.BOOK.resolve():
        raise ValueError(f"{out} has the book's own chapters: give another folder")
    if not notebooks.BOOK.exists():
        raise ValueError("an installed package has no chapters: make editions in a clone of the repository")
    book = read_book()
    every = sorted(notebooks.BOOK.glob("*.ipynb")) if edition == "reader" and not names else None
    made = {out / path.name: build(path, edition, book) for path in every or notebooks.paths(names)}
    for path, notebook in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        notebooks.write(path, notebook)
    return list(made)


def build(path: Path, edition: str, book: Book) -> dict:
    """One chapter's edition, as a notebook's dictionary."""
    notebook, hidden = notebooks.read(path), tests(path)
    cells: list[dict] = []
    for label, group in groupby(parts(notebook, path), lambda part: part.label):
        plain = [Part(part.kind, part.label, _plain(part.cell, book, path)) for part in group]
        if label:
            cells += EXERCISE[edition](plain, book.labels[label][0], hidden.get(label))
        else:
            cells += [new for part in plain for new in _with_caption(part.cell, book)]
    title, *text = cells[0]["source"].split("\n")
    cells[0]["source"] = "\n".join([" ".join(["#", *prefix(path).split(), title.removeprefix("# ")]), *text])
    cells.insert(1, _markdown("edition", _about(path, edition, notebook)))
    if edition == "otter":
        cells.insert(0, _raw("assignment", "ASSIGNMENT CONFIG", "export_cell: false\ninit_cell: false"))
    for cell in cells:
        if edition == "otter" and cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        cell["metadata"].pop("mystnb", None)
    return {**notebook, "cells": cells}


def _about(path: Path, edition: str, notebook: dict) -> str:
    """Where one is, and for instructors how long it takes."""
    what = "Assignment on" if edition == "otter" else f"The {edition}'s edition of"
    name = f"chapter {prefix(path)[:-1]}" if prefix(path) else "a page"
    # Those with solutions are not published: their teachers make them.
    opens = f"; [open it in Colab]({colab(edition, path.stem)})" if edition in ("reader", "student") else ""
    lines = [f"*{what} [{name}]({page(path.stem)}) of the book{opens}.*"]
    stamp = notebook["metadata"].get("mlipbook")
    if edition == "instructor" and stamp:
        where = f"at profile {stamp['profile']} on {stamp['device']}, {stamp['date']}"
        lines.append(f"It ran in {stamp['seconds']:.0f} s {where}.")
        slow = {k: s for k, s in enumerate(stamp.get("cells", []), start=1) if s >= SLOW}
        if slow:
            lines.append(f"Slow cells: {', '.join(f'[{k}] {s:.0f} s' for k, s in slow.items())}.")
    return "> " + " ".join(lines)


# ---- cells


def _plain(cell: dict, book: Book, path: Path) -> dict:
    """The cell in plain Markdown; code folded as in the book, pictures with their alternative text."""
    if cell["cell_type"] == "markdown":
        return {**cell, "source": lower(cell["source"], book, path.stem)}
    tags = cell["metadata"].get("tags", [])
    about = cell["metadata"].get("mystnb", {})
    cell = {**cell, "metadata": dict(cell["metadata"])}
    if "hide-input" in tags:
        name = about.get("figure", {}).get("name")
        what = "Setup" if "setup" in tags else "Code"
        cell = _folded(cell, f"{what} of {book.labels[name][0]}" if name else what)
    if "hide-output" in tags:
        cell["metadata"]["jupyter"] = {**cell["metadata"].get("jupyter", {}), "outputs_hidden": True}
        cell["metadata"]["collapsed"] = True
    for output in cell["outputs"] if "image" in about else []:
        for mime in output.get("data", {}).keys() & {"image/png", "image/svg+xml"}:
            output["metadata"] = {**output.get("metadata", {}), mime: {"alt": about["image"]["alt"]}}
    return cell


def _folded(cell: dict, title: str) -> dict:
    """Code behind a title: a form in Colab, a collapsed cell in JupyterLab and VS Code."""
    folded = {"cellView": "form", "jupyter": {**cell["metadata"].get("jupyter", {}), "source_hidden": True}}
    source = f"# @title {title}\n{cell['source']}"
    return {**cell, "source": source, "metadata": {**cell["metadata"], **folded}}


def _with_caption(cell: dict, book: Book) -> list[dict]:
    figure = cell["metadata"].get("mystnb", {}).get("figure")
    if not figure:
        return [cell]
    label, chapter = book.labels[figure["name"]]
    caption = f'<a id="{figure["name"]}"></a>**{label}.** {lower(figure["caption"], book, chapter)}'
    return [cell, _markdown(f"caption-{figure['name']}", caption)]


def _markdown(id: str, source: str) -> dict:
    return {"cell_type": "markdown", "id": id, "metadata": {}, "source": source}


def _code(id: str, source: str) -> dict:
    return {**_markdown(id, source), "cell_type": "code", "execution_count": None, "outputs": []}


def _raw(id: str, first: str, rest: str = "") -> dict:
    return {**_markdown(id, f"# {first}\n{rest}".strip()), "cell_type": "raw"}


# ---- an exercise in each edition


def _of(kind: str, group: list[Part]) -> list[dict]:
    return [part.cell for part in group if part.kind == kind]


def _reader(group: list[Part], name: str, test: dict[str, Any] | None) -> list[dict]:
    solution = []
    for cell in _of("solution", group):
        if cell["cell_type"] == "code":
            cell = _folded({**cell, "outputs": [], "execution_count": None}, f"Show solution of {name}")
        else:
            summary = f"<summary>Show solution of {name}</summary>"
            cell = {**cell, "source": f"<details>{summary}\n\n{cell['source']}\n\n</details>"}
        solution.append(cell)
    answer = [new for cell in _of("answer", group) for new in _check_folded(cell, name, test)]
    return _of("task", group) + answer + solution


def _check_folded(cell: dict, name: str, test: dict[str, Any] | None) -> list[dict]:
    """The line to fill in stays; what checks it is folded away, as it shows what is right."""
    names, lines = set(test["answers"]) if test else set(), cell["source"].splitlines()
    blocks = [lines[n.lineno - 1 : n.end_lineno] for n in ast.parse(cell["source"]).body if _binds(n) & names]
    kept = [line for block in blocks for line in block]
    rest = "\n".join(line for line in lines if line not in kept).strip()
    if not kept or not rest:
        return [cell]
    check = _folded({**cell, "id": f"{cell['id']}-check", "source": rest}, f"Check the answer to {name}")
    return [{**cell, "source": "\n".join(kept), "outputs": [], "execution_count": None}, check]


def _binds(node: ast.stmt) -> set[str]:
    """The names that a statement at the top of a cell defines."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {getattr(node, "name", "")} | {t.id for t in targets if isinstance(t, ast.Name)}


def _student(group: list[Part], name: str, test: dict[str, Any] | None) -> list[dict]:
    """Without the book's own answer cells, which check themselves: that shows what the answer is."""
    label = group[0].label
    return [*_of("task", group), _code(f"answer-{label}", stub(test, _of("solution", group)))]


def _instructor(group: list[Part], name: str, test: dict[str, Any] | None) -> list[dict]:
    cells = _of("task", group) + _of("answer", group) + _of("solution", group)
    if test:
        refused = indent("\n".join(["It refuses:", *test["must_reject"]]), "# ")
        source = f"# Hidden test of {name}\n{test['test'].strip()}\n{refused}"
        cells.append(_code(f"test-{group[0].label}", source))
    return cells


def _otter(group: list[Part], name: str, test: dict[str, Any] | None) -> list[dict]:
    """Questions in the format v1 of otter assign; one without a test is graded by hand."""
    label = group[0].label
    manual = "" if test else "\nmanual: true"
    begin = _raw(f"question-{label}", "BEGIN QUESTION", f"name: {label.replace('-', '_')}\npoints: 1{manual}")
    prompt = f'""" # BEGIN PROMPT\n{stub(test, _of("solution", group))}\n"""; # END PROMPT'
    code = [cell for cell in _of("answer", group) + _of("solution", group) if cell["cell_type"] == "code"]
    notes = [cell for cell in _of("solution", group) if cell["cell_type"] == "markdown"]
    solution = "\n\n\n".join(cell["source"] for cell in code)
    source = f"# BEGIN SOLUTION NO PROMPT\n{solution}\n# END SOLUTION\n{prompt}"
    answer = [_raw(f"solution-{label}", "BEGIN SOLUTION"), _code(f"answer-{label}", source), *notes]
    cells = [begin, *_of("task", group), *answer, _raw(f"solved-{label}", "END SOLUTION")]
    if test:
        hidden = _code(f"test-{label}", f"# HIDDEN\n{test['test'].strip()}")
        cells += [_raw(f"tests-{label}", "BEGIN TESTS"), hidden, _raw(f"tested-{label}", "END TESTS")]
    return [*cells, _raw(f"done-{label}", "END QUESTION")]


EXERCISE = {"reader": _reader, "student": _student, "instructor": _instructor, "otter": _otter}
