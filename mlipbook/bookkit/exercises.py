"""Exercises: what of a chapter is task, answer and solution; hidden tests, and the proof that they can tell.

``book/exercises/<chapter>.toml`` has a table for each exercise, by its label:

    answers = {factor = "by which the conductivity grows"}    # the names that the test reads
    test = "assert factor == 8"
    must_reject = ["factor = 2", "factor = 4"]    # plausible and wrong; `right` is the solution's answer

In `must_reject`, `right` is a dictionary where the test reads several names.
"""

import ast
import contextlib
import io
import os
import tomllib
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from . import notebooks
from .lowering import directives, prefix

FEWEST = 2  # wrong answers that each test must refuse


class Part(NamedTuple):
    """A cell; `kind` is "task", "answer" or "solution" of the exercise `label`, and empty elsewhere."""

    kind: str
    label: str
    cell: dict


def parts(notebook: dict, chapter: Path) -> Iterator[Part]:
    """The cells of a chapter in order, Markdown cells cut where exercises and solutions begin and end.

    The directives around exercises and solutions are gone: an exercise has a heading with its number.
    """
    kind = label = ""
    count = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            yield Part({"task": "answer"}.get(kind, kind), label, cell)
            continue
        lines, done = cell["source"].splitlines(), 0
        for item in [*directives(cell["source"]), None]:
            if item and item.name not in ("exercise", "solution-start", "solution-end"):
                continue
            start, end = item.lines if item else (len(lines), len(lines))
            if text := "\n".join(lines[done:start]).strip():
                yield Part(kind, label, _markdown(cell, text, done))
            done = end
            if item and item.name == "exercise":
                count += 1
                kind, label = "task", item.options["label"]
                heading = f"### Exercise {prefix(chapter)}{count}. {item.argument}"
                text = f'<a id="{label}"></a>\n\n{heading}\n\n{item.body}'
                yield Part(kind, label, _markdown(cell, text, start))
            elif item:
                kind = {"solution-start": "solution", "solution-end": ""}[item.name]
                label = label if kind else ""


def _markdown(cell: dict, text: str, line: int) -> dict:
    return {**cell, "id": f"{cell['id'][:50]}-{line}" if line else cell["id"], "source": text}


def tests(chapter: Path) -> dict[str, dict[str, Any]]:
    """The hidden tests of a chapter, by the labels of its exercises."""
    path = chapter.parent / "exercises" / f"{chapter.stem}.toml"
    return tomllib.loads(path.read_text()) if path.exists() else {}


def stub(test: dict[str, Any] | None, solution: list[dict]) -> str:
    """What a student fills in: each name that the test reads, functions with the solution's arguments."""
    if not test:
        return "# Your answer here"
    trees = [ast.parse(cell["source"]) for cell in solution if cell["cell_type"] == "code"]
    functions = {n.name: ast.unparse(n.args) for t in trees for n in t.body if isinstance(n, ast.FunctionDef)}
    lines = []
    for name, about in test["answers"].items():
        if name in functions:
            lines.append(f"def {name}({functions[name]}):\n    ...  # {about}")
        else:
            lines.append(f"{name} = ...  # {about}")
    return "\n\n".join(lines)


# ---- do the tests tell right from wrong?


def problems(chapter: Path, profile: str) -> list[str]:
    """Run a chapter without its solutions; judge each hidden test at its exercise, and where all has run.

    A test sees the names of the chapter and the answers, nothing else that a solution defines. Empty if
    every exercise has a test that refuses the empty answer, passes the solution's, and refuses two or more
    wrong ones with an AssertionError.
    """
    os.environ.setdefault("MPLBACKEND", "Agg")
    cells, known = list(parts(notebooks.read(chapter), chapter)), tests(chapter)
    labels = {part.label for part in cells if part.label}
    found = [f"{label}: no test" for label in sorted(labels - known.keys())]
    found += [f"{label}: no such exercise" for label in sorted(known.keys() - labels)]
    space: dict[str, Any] = {"__name__": "__main__"}
    solved: dict[str, Any] = {}  # what solutions define: later ones use it
    answered: dict[str, tuple[str, dict]] = {}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # of figures that no screen shows
        for label, group in groupby(cells, lambda part: part.label):
            code = [part.cell for part in group if part.cell["cell_type"] == "code"]
            scope = space | solved if label else space
            for cell in code:
                exec(compile(cell["source"], chapter.stem, "exec"), scope)
                if "parameters" in cell["metadata"].get("tags", []):
                    space["profile"] = profile
            if label in known:
                solved = {name: x for name, x in scope.items() if x is not space.get(name, cells)}
                answers = {name: scope[name] for name in known[label]["answers"]}
                answered[label] = stub(known[label], code), answers
                found += [f"{label}: {what}" for what in _judged(known[label], *answered[label], space)]
        for label, answer in answered.items():  # otter runs hidden tests there
            again = _judged(known[label], *answer, space)
            found += [f"{label}, at the end: {what}" for what in again if f"{label}: {what}" not in found]
    return [f"{chapter.stem}, {what}" for what in found]


def _judged(test: dict[str, Any], empty: str, answers: dict[str, Any], space: dict) -> list[str]:
    found = []
    if _outcome(test, empty, space) == "passed":
        found.append("the empty answer passes")
    if (outcome := _outcome(test, "", space | answers)) != "passed":
        return [*found, f"the solution fails: {outcome}"]
    if len(test["must_reject"]) < FEWEST:
        found.append(f"fewer than {FEWEST} wrong answers to refuse")
    right = answers if len(answers) > 1 else next(iter(answers.values()))
    for wrong in test["must_reject"]:
        outcome = _outcome(test, wrong, space | answers | {"right": right})
        if not outcome.startswith("AssertionError"):
            found.append(f"{wrong!r}: {outcome}, not refused")
    return found


def _outcome(test: dict[str, Any], answer: str, space: dict) -> str:
    """Of a test after an answer, which may overwrite names but not what they stand for."""
    scope = dict(space)
    exec(answer, scope)
    try:
        exec(test["test"], scope)
    except Exception as error:  # a student's answer may break a test in any way
        return f"{type(error).__name__}: {error}"
    return "passed"
