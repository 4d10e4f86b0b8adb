"""The one frame of every chapter: the cells it starts with, its sections in order, figures, exercises."""

import json
import re
from pathlib import Path

from . import notebooks
from .records import RECORD
from .results import RELEASE, WHEEL

SETUP = (Path(__file__).parent / "setup_cell.txt").read_text().strip().format(release=RELEASE, wheel=WHEEL)
PARAMETERS = 'profile = "colab"\nseed = 0'
SECTIONS = (
    "Objectives",
    "Theory",
    "From scratch",
    "Results",
    "When this fails",
    "Exercises",
    "Summary",
    "At paper scale",
    "Further reading",
)
OBJECTIVES = ("Prerequisites", "Reading", "two CPU cores", "GPU")


def from_text(text: str) -> dict:
    """A notebook from a text draft: cells start with ``%% md`` or ``%% code {metadata as JSON}``, or are
    those of every chapter, ``%% setup`` and ``%% parameters``.
    """
    cells = []
    for k, part in enumerate(re.split(r"^%% ", text, flags=re.MULTILINE)[1:]):
        header, _, source = part.partition("\n")
        kind, _, data = header.strip().partition(" ")
        fixed = {"setup": (SETUP, ["hide-input", "setup"]), "parameters": (PARAMETERS, ["parameters"])}
        if kind not in ("md", "code", *fixed):
            raise ValueError(f"cell {k + 1}: unknown kind {kind!r}")
        about = json.loads(data) if data else {}
        if kind in fixed:
            source, about["tags"] = fixed[kind]
        cell = {"id": f"cell-{k + 1}", "metadata": about, "source": source.strip()}
        code: dict = {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(cell | ({"cell_type": "markdown"} if kind == "md" else code))
    metadata = {"kernelspec": notebooks.KERNEL}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def problems(path: Path) -> list[str]:
    """Where a chapter leaves the frame; empty if it does not."""
    cells = notebooks.read(path)["cells"]
    sections = _sections(cells)
    found = _opening(cells, sections)
    present = [heading for heading in sections if heading in SECTIONS]
    if present != list(SECTIONS):
        every = ", ".join(SECTIONS)
        found.append(f"the sections must be {every} (others may stand between), not {present}")
    if not found:
        found = _contents(sections) + _exercises(sections["Exercises"])
    return [f"{path.name}: {what}" for what in found + _figures(cells) + _links(cells, path)]


def figure_names(path: Path) -> list[str]:
    """The names that the chapter gives to its figures, unique over the book."""
    cells = notebooks.code_cells(notebooks.read(path))
    return [cell["metadata"]["mystnb"]["figure"]["name"] for cell in cells if "mystnb" in cell["metadata"]]


def _sections(cells: list[dict]) -> dict[str, list[dict]]:
    """Cells by the ``## heading`` they stand under; the opening is under an empty heading."""
    sections: dict[str, list[dict]] = {"": []}
    heading = ""
    for cell in cells:
        found = re.search(r"^## +(.+)$", cell["source"], re.MULTILINE)
        if found and cell["cell_type"] == "markdown":
            heading = found[1].strip()
        sections.setdefault(heading, []).append(cell)
    return sections


def _text(cells: list[dict], kind: str = "markdown") -> str:
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == kind)


def _opening(cells: list[dict], sections: dict) -> list[str]:
    found = []
    if not re.match(r"# .+\n+\S", cells[0]["source"]) or cells[0]["cell_type"] != "markdown":
        found.append("the first cell must be the title and a paragraph")
    expected = (("hide-input", "setup"), SETUP), (("parameters",), PARAMETERS)
    for cell, (tags, source) in zip(cells[1:3], expected, strict=False):
        if tuple(cell["metadata"].get("tags", [])) != tags or cell["source"].strip() != source:
            found.append(f"cells 2 and 3 are setup and parameters, as in the template: {tags[-1]} differs")
    if not any(_images(cell) or "mlip-slider" in json.dumps(cell.get("outputs")) for cell in sections[""]):
        found.append("no figure before the objectives (teaser first)")
    return found


def _contents(sections: dict[str, list[dict]]) -> list[str]:
    needs = [
        ("Objectives", "markdown", r"^- ", "no list of objectives"),
        *(("Objectives", "markdown", re.escape(word), f"does not say {word!r}") for word in OBJECTIVES),
        ("Theory", "markdown", r"\\tag\{", "no numbered equation"),
        ("From scratch", "code", r"^\s*assert |testing\.assert_", "not asserted equal to the library's"),
        ("Results", "code", r"bookkit\.summary\(\)", "no bookkit.summary()"),
        ("When this fails", "markdown", r"^- ", "no list of limits"),
        ("At paper scale", "code", r"bookkit\.paper_scale\(", "no bookkit.paper_scale(...)"),
        ("Further reading", "markdown", r"\{cite[:}pt]", "nothing cited"),
    ]
    found = [
        f"section {heading!r}: {what}"
        for heading, kind, pattern, what in needs
        if not re.search(pattern, _text(sections[heading], kind), re.MULTILINE)
    ]
    outputs = [o for cells in sections.values() for cell in cells for o in cell.get("outputs", [])]
    return found + ["records nothing"] * (not any(RECORD in o.get("data", {}) for o in outputs))


def _exercises(cells: list[dict]) -> list[str]:
    text = _text(cells)
    labels = re.findall(r"\{exercise(?:-start)?\}.*\n:label: *(\S+)", text)
    if not 3 <= len(labels) <= 5:
        return [f"{len(labels)} exercises, not three to five"]
    found = [
        f"exercise {label}: no closed solution (solution-start {label}, :class: dropdown)"
        for label in labels
        if not re.search(rf"\{{solution-start\}} {re.escape(label)}\n:class: dropdown", text)
    ]
    if text.count("{solution-start}") != text.count("{solution-end}"):
        found.append("solution-start without solution-end, or the reverse")
    if _text(cells, "code").count("bookkit.check(") < len(labels):
        found.append("fewer calls of bookkit.check than exercises")
    return found


def _links(cells: list[dict], path: Path) -> list[str]:
    """Other chapters are named by their number, as a link."""
    text = re.sub(r"\{\w+\}`[^`]*`|\[[^]]*\]\([^)]*\)|^#.*$", "", _text(cells), flags=re.MULTILINE)
    named = {
        found for found in re.findall(r"[Cc]hapters?\s+(\d+)", text) if f"ch{found:0>2}" not in path.stem
    }
    return [
        f"chapter {found} is named without a link: {{doc}}`chapter {found} <chNN_name>`" for found in named
    ]


def _images(cell: dict) -> list[dict]:
    return [o for o in cell.get("outputs", []) if {"image/png", "image/svg+xml"} & o.get("data", {}).keys()]


def _figures(cells: list[dict]) -> list[str]:
    found = []
    for cell in cells:
        images = _images(cell)
        about = cell["metadata"].get("mystnb", {})
        where = f"figure of the cell {cell['source'][:40]!r}"
        shown = sum("data" in output for output in cell.get("outputs", []))
        if images and shown > 1:
            found.append(f"{where}: {shown} outputs share one caption; give each a cell of its own")
        if images and len(about.get("image", {}).get("alt", "")) < 20:
            found.append(f"{where}: no alternative text (metadata mystnb.image.alt, 20 characters or more)")
        if images and not {"caption", "name"} <= about.get("figure", {}).keys():
            found.append(f"{where}: no caption or name (metadata mystnb.figure)")
    return found
