"""Editions: plain Markdown, links that resolve, solutions where they belong, hidden tests that can tell."""

import re

import nbformat
import pytest
from markdown_it import MarkdownIt

from mlipbook.__main__ import main
from mlipbook.bookkit import editions, exercises, frame, lowering, notebooks
from mlipbook.bookkit.results import ROOT

CHAPTERS = notebooks.paths()
BOOK = lowering.read_book()
PLAIN = MarkdownIt("commonmark").enable("table")
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
every_edition = pytest.mark.parametrize("edition", editions.EDITIONS)
without_solutions = pytest.mark.parametrize("edition", ["reader", "student"])


@pytest.fixture(scope="module")
def built():
    """Every edition of every chapter, by edition and chapter."""
    return {
        (edition, path.stem): editions.build(path, edition, BOOK)
        for edition in editions.EDITIONS
        for path in CHAPTERS
    }


def text_of(notebook, kind="markdown"):
    return "\n\n".join(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == kind)


def tokens(text):
    """All tokens, those inside paragraphs too."""
    return [t for block in PLAIN.parse(text) for t in [block, *(block.children or [])]]


def raw_markup(text):
    """MyST left in a text, as other parsers see it: directives are fences, roles code after {name}."""
    found = [t.info for t in tokens(text) if t.type == "fence" and t.info.startswith("{")]
    for block in PLAIN.parse(text):
        for before, after in zip(block.children or [], (block.children or [])[1:], strict=False):
            if after.type == "code_inline" and re.search(r"\{[\w:+-]+\}$", before.content):
                found.append(before.content + after.content)
    return found + re.findall(r"^ *:::.*|^\([\w-]+\)=$", text, re.MULTILINE)


# ---- Markdown


@every_edition
@chapters
def test_no_directive_or_role_is_left(built, edition, path):
    assert raw_markup(text_of(built[edition, path.stem])) == []


@pytest.mark.parametrize(
    "raw", ["```{note}\nx\n```", "as {cite:t}`evans1982` says", ":::{tip}\nx\n:::", "(here)="]
)
def test_markup_that_was_left_would_be_found(raw):
    assert raw_markup(raw)


@every_edition
@chapters
def test_editions_are_valid_notebooks(built, edition, path, tmp_path):
    notebooks.write(tmp_path / path.name, built[edition, path.stem])
    notebook = nbformat.read(tmp_path / path.name, as_version=4)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(ids) == len(set(ids))


def anchors(page):
    """What a page of the book can be entered at: labels of figures and exercises, terms of the glossary."""
    if page == "glossary":
        terms = re.findall(r"^(?![ `#(]|$)(.+)$", (ROOT / "book/glossary.md").read_text(), re.MULTILINE)
        return {"term-" + re.sub(r"[^\w.]+", "-", t, flags=re.ASCII).strip("-") for t in terms}
    return {label for label, (_, home) in BOOK.labels.items() if home == page}


@every_edition
@chapters
def test_every_link_resolves(built, edition, path):
    text = text_of(built[edition, path.stem])
    here = re.findall(r'<a id="([^"]+)"></a>', text)
    assert len(here) == len(set(here))
    links = {t.attrs["href"] for t in tokens(text) if t.type == "link_open"}
    assert any(link.startswith(lowering.SITE) for link in links)
    for link in links:
        if link.startswith(lowering.SITE):
            name, _, anchor = link.removeprefix(f"{lowering.SITE}/book/").partition(".html")
            assert name in BOOK.pages, link
            assert not anchor or anchor[1:] in anchors(name), link
        else:
            assert link.startswith("https://") or link[1:] in here, link
    assert "![" not in text and "](images" not in text


@chapters
def test_the_parts_of_a_chapter_keep_its_text(path):
    """Cutting at exercises loses nothing, and numbers them by chapter."""
    notebook = notebooks.read(path)
    parts = list(exercises.parts(notebook, path))
    headings = [re.search(r"### Exercise (\S+)\. ", p.cell["source"]) for p in parts if p.kind == "task"]
    numbers = [f"{lowering.prefix(path)}{k}" for k in range(1, len(headings) + 1)]
    assert len(numbers) >= 3 and [heading[1] for heading in headings] == numbers
    code = [part.cell["source"] for part in parts if part.cell["cell_type"] == "code"]
    assert code == [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    fenced = re.compile(r"^```.*\n|^:(label|class):.*\n|\s", re.MULTILINE)
    whole = fenced.sub("", text_of(notebook) + "\n")
    for part in parts:
        if part.kind != "task":
            assert part.cell["cell_type"] == "code" or fenced.sub("", part.cell["source"] + "\n") in whole


LOWERED = {
    "{numref}`fig-ch06-slope`": "[Fig. 6.2](#fig-ch06-slope)",
    "{numref}`fig-ch03-eos`": f"[Fig. 3.4]({lowering.page('ch03_ann_potential', 'fig-ch03-eos')})",
    "{term}`EFP-fits <EFP-fit>`": f"[EFP-fits]({lowering.page('glossary', 'term-EFP-fit')})",
    "{doc}`chapter 3 <ch03_ann_potential>`": f"[chapter 3]({lowering.page('ch03_ann_potential')})",
    "{doc}`status`": f"[{BOOK.pages['status']}]({lowering.page('status')})",
    "see [here](status.md)": f"see [here]({lowering.page('status')})",
    "{cite:t}`hoover1985`": "[Hoover (1985)](https://doi.org/10.1103/PhysRevA.31.1695)",
    "{cite}`shimamura`": f"([Shimamura et al., n.d.]({lowering.page('bibliography')}))",
    "```{note}\nBe {term}`edge`.\n\nTwice.\n```": (
        f"> **Note.** Be [edge]({lowering.page('glossary', 'term-edge')}).\n>\n> Twice."
    ),
    "```{margin}\nShort.\n```": "> **Aside.** Short.",
    "x\n\n\\begin{align}\na &= b \\tag{6.1}\n\\end{align}": (
        "x\n\n$$\n\\begin{align}\na &= b \\tag{6.1}\n\\end{align}\n$$"
    ),
    "`{cite}` and $x_{ij}$ and\n```python\nf = {note}\n```": None,
    "| a |\n|---|\n| {doc}`status <status>` |": f"| a |\n|---|\n| [status]({lowering.page('status')}) |",
}


@pytest.mark.parametrize("source", LOWERED)
def test_markup_is_lowered_to(source):
    assert lowering.lower(source, BOOK, "ch06_molecular_dynamics") == (LOWERED[source] or source)


REFUSED = {
    "```{plot} x\n```": "directive 'plot'",
    "{py:func}`x`": "py:func",
    "{numref}`fig-nowhere`": "fig-nowhere",
    "{cite}`nobody2000`": "references.bib has no 'nobody2000'",
    "[x](nowhere.md)": "no page of the book",
    "(here)=\n# Title": "myst_target",
    "- a\n\n  ```{note}\n  b\n  ```": "inside a list",
}


@pytest.mark.parametrize("source", REFUSED)
def test_markup_without_a_plain_form_is_refused(source):
    with pytest.raises(ValueError, match=REFUSED[source]):
        lowering.lower(source, BOOK, "ch06_molecular_dynamics")


# ---- figures and code


@chapters
def test_figures_keep_pictures_captions_numbers_and_alternative_texts(built, path):
    cells = built["reader", path.stem]["cells"]
    names = frame.figure_names(path)
    for k, name in enumerate(names, start=1):
        at = next(i for i, cell in enumerate(cells) if f'<a id="{name}"></a>' in cell["source"])
        assert f"**Fig. {lowering.prefix(path)}{k}.** " in cells[at]["source"]
        shown = [output for output in cells[at - 1]["outputs"] if "image/png" in output.get("data", {})]
        assert len(shown) == 1 and len(shown[0]["metadata"]["image/png"]["alt"]) >= 20
    assert names or "mlip-slider" in path.read_text()


def solutions(path):
    """Every line of the solutions that stands nowhere else in the chapter, but for heads of functions."""
    parts = list(exercises.parts(notebooks.read(path), path))
    elsewhere = "\n".join(part.cell["source"] for part in parts if part.kind != "solution")
    cells = [part.cell for part in parts if part.kind == "solution"]
    plain = [
        lowering.lower(c["source"], BOOK, "") if c["cell_type"] == "markdown" else c["source"] for c in cells
    ]
    lines = [line.strip() for source in plain for line in source.splitlines()]
    return [s for s in lines if len(s) > 15 and s not in elsewhere and not s.startswith("def ")]


def visible(notebook):
    """What a reader sees before opening anything."""
    found = []
    for cell in notebook["cells"]:
        hidden = cell["metadata"].get("jupyter", {}).get("source_hidden")
        assert bool(hidden) == (cell["metadata"].get("cellView") == "form")
        if not hidden:
            found.append(re.sub(r"<details>.*?</details>", "", cell["source"], flags=re.DOTALL))
        found += [str(output) for output in cell.get("outputs", [])]
    return "\n".join(found)


@without_solutions
@chapters
def test_no_solution_is_visible(built, edition, path):
    shown = visible(built[edition, path.stem])
    assert len(solutions(path)) > 3 and [line for line in solutions(path) if line in shown] == []
    assert "bookkit.check(" not in shown  # shows what is right


@chapters
def test_the_reader_s_solutions_are_there_to_be_opened(built, path):
    text = text_of(built["reader", path.stem]) + text_of(built["reader", path.stem], "code")
    assert [line for line in solutions(path) if line not in text] == []
    assert text.count("Show solution of Exercise") >= 3


@chapters
def test_students_get_no_solution_at_all_and_one_answer_cell_for_each_exercise(built, path):
    notebook = built["student", path.stem]
    text = text_of(notebook) + text_of(notebook, "code")
    assert [line for line in solutions(path) if line in text] == []
    answers = [cell["id"] for cell in notebook["cells"] if cell["id"].startswith("answer-")]
    labels = [
        label for label, (name, home) in BOOK.labels.items() if home == path.stem and "Exercise" in name
    ]
    assert answers == [f"answer-{label}" for label in labels]
    for cell in notebook["cells"]:
        if cell["id"].startswith("answer-"):
            assert cell["outputs"] == [] and "..." in cell["source"]
            compile(cell["source"], cell["id"], "exec")


@chapters
def test_instructors_get_solutions_hidden_tests_and_times(built, path):
    notebook = built["instructor", path.stem]
    shown = visible(notebook)
    assert [line for line in solutions(path) if line not in shown] == []
    for test in exercises.tests(path).values():
        assert test["test"].strip() in shown
    seconds = notebooks.read(path)["metadata"]["mlipbook"]["seconds"]
    assert f"It ran in {seconds:.0f} s" in notebook["cells"][1]["source"]


# ---- otter


@chapters
def test_otter_questions_are_blocks_with_solution_prompt_and_hidden_test(built, path):
    cells = built["otter", path.stem]["cells"]
    raw = [cell["source"].splitlines()[0] for cell in cells if cell["cell_type"] == "raw"]
    question = [
        "BEGIN QUESTION",
        "BEGIN SOLUTION",
        "END SOLUTION",
        "BEGIN TESTS",
        "END TESTS",
        "END QUESTION",
    ]
    known = exercises.tests(path)
    assert raw == ["# ASSIGNMENT CONFIG", *(f"# {word}" for _ in known for word in question)]
    for label, test in known.items():
        by_id = {cell["id"]: cell["source"] for cell in cells}
        assert by_id[f"test-{label}"] == f"# HIDDEN\n{test['test'].strip()}"
        prompt = re.fullmatch(
            r'# BEGIN SOLUTION NO PROMPT\n.*\n# END SOLUTION\n""" # BEGIN PROMPT\n(.*)\n"""; # END PROMPT',
            by_id[f"answer-{label}"],
            re.DOTALL,
        )
        assert prompt and all(name in prompt[1] for name in test["answers"])
    assert not any(cell.get("outputs") for cell in cells)


@chapters
def test_every_exercise_has_a_hidden_test_with_two_wrong_answers(path):
    labels = {part.label for part in exercises.parts(notebooks.read(path), path) if part.label}
    known = exercises.tests(path)
    assert known.keys() == labels
    for test in known.values():
        assert test.keys() == {"answers", "test", "must_reject"}
        assert len(test["must_reject"]) >= exercises.FEWEST


@pytest.mark.slow
def test_hidden_tests_tell_right_from_wrong_in_a_chapter():
    """All chapters: python -m mlipbook test-exercises."""
    path = next(path for path in CHAPTERS if path.stem == "ch11_thermal_conductivity")
    assert exercises.problems(path, "smoke") == []


FAULTS = {
    "the empty answer passes": {"test": "pass"},
    "the solution fails: AssertionError": {"test": "assert answer == 8"},
    "fewer than 2 wrong answers": {"must_reject": ["answer = 8"]},
    "'answer = 18 / 2': passed, not refused": {"must_reject": ["answer = 8", "answer = 18 / 2"]},
    "'answer = None': TypeError": {
        "test": "assert answer - 9 == 0",
        "must_reject": ["answer = 8", "answer = None"],
    },
    "no test": None,
}


DRAFT = """%% parameters
%% md
```{exercise} Square
:label: square

What is three squared?
```
```{solution-start} square
:class: dropdown
```
%% code
answer = 3**2
%% md
```{solution-end}
```
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_hidden_test_that_cannot_tell_is_found(fault, tmp_path, monkeypatch):
    path = tmp_path / "ch99_squares.ipynb"
    notebooks.write(path, frame.from_text(DRAFT))
    good = {
        "answers": {"answer": ""},
        "test": "assert answer == 9",
        "must_reject": ["answer = 8", "answer = 6"],
    }
    known = {} if FAULTS[fault] is None else {"square": good | FAULTS[fault]}
    monkeypatch.setattr(exercises, "tests", lambda chapter: {"square": good})
    assert exercises.problems(path, "smoke") == []
    monkeypatch.setattr(exercises, "tests", lambda chapter: known)
    found = exercises.problems(path, "smoke")
    assert found and fault in found[0] and found[0].startswith("ch99_squares, square: ")


# ---- the command, addresses


def test_the_command_writes_the_chapters_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mlipbook", "edition", "student", str(tmp_path / "new"), "ch00_teaser"])
    assert main() == 0
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["ch00_teaser.ipynb"]
    assert capsys.readouterr().out == f"student: 1 notebooks in {tmp_path / 'new'}\n"


def test_repository_and_branch_are_the_same_everywhere():
    assert f"url: {lowering.REPOSITORY}\n" in (ROOT / "_config.yml").read_text()
    assert f"HEAD:{lowering.BRANCH}\n" in (ROOT / ".github/workflows/pages.yml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for edition in editions.EDITIONS:
        folder = lowering.FOLDER.get(edition, edition)
        assert f"mlipbook edition {edition} _build/editions/{folder}\n" in makefile


def test_the_book_s_own_chapters_are_never_written_over():
    chapter = notebooks.paths()[0]
    before = chapter.read_bytes()
    with pytest.raises(ValueError, match="the book's own chapters: give another folder"):
        editions.write("student", notebooks.BOOK, [chapter.stem])
    assert chapter.read_bytes() == before


def test_an_installed_package_says_where_editions_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "BOOK", tmp_path / "no-book")
    with pytest.raises(ValueError, match="make editions in a clone of the repository"):
        editions.write("reader", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("edition", editions.EDITIONS)
def test_editions_with_solutions_have_no_address(built, edition):
    cells = built[edition, "ch00_teaser"]["cells"]
    opens = any("colab.research" in cell["source"] for cell in cells[:3])
    assert opens == (edition in ("reader", "student"))
