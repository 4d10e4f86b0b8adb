"""What the front page takes from the chapters: recorded numbers, a figure, a map of what builds on what.

{record}`ch05_ef_efp: stress error, EF`     the value with its error and unit, linked to the chapter
{chapter-figure} fig-ch05-teaser            a figure as its chapter stores it, with its caption
{chapter-map}                               chapters as boxes, an arrow to each from its prerequisites
"""

import re
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

from mlipbook.bookkit import notebooks
from mlipbook.bookkit.records import format_value

WIDE, HIGH, GAP_X, GAP_Y = 190, 62, 24, 46  # a box of the map, and what is between boxes
SHORT = {  # words that fit into a box
    0: "Start here",
    1: "First-principles data",
    2: "Descriptors",
    3: "ANN potential",
    4: "Training",
    5: "EF-fit against EFP-fit",
    6: "Molecular dynamics",
    7: "Melting hysteresis",
    8: "Free energies",
    9: "k points and size",
    10: "Heat flux",
    11: "Thermal conductivity",
}


def number(path: Path) -> int:
    return int(path.stem[2:4])


class Record(SphinxRole):
    """A number that a chapter recorded."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        chapter, _, name = self.text.partition(": ")
        path = Path(self.env.srcdir, "book", f"{chapter}.ipynb")
        found = notebooks.records(notebooks.read(path)).get(name) if path.exists() else None
        if not found:
            return [], [self.inliner.reporter.error(f"{chapter} records no {name!r}", line=self.lineno)]
        self.env.note_dependency(str(path))
        text = f"{format_value(found['value'], found.get('sem'))} {found.get('unit', '')}".strip()
        options = {"reftype": "doc", "refdomain": "std", "reftarget": f"/book/{chapter}", "refexplicit": True}
        link = addnodes.pending_xref("", nodes.inline("", text), refdoc=self.env.docname, **options)
        return [link], []


class ChapterFigure(SphinxDirective):
    """A stored figure, whose name begins with that of its chapter."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        [name] = self.arguments
        for path in notebooks.paths():
            for cell in notebooks.code_cells(notebooks.read(path)):
                about = cell["metadata"].get("mystnb", {})
                if about.get("figure", {}).get("name") == name:
                    self.env.note_dependency(str(path))
                    [image] = [o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o["data"]]
                    source = f"data:image/png;base64,{image.strip()}"
                    html = f'<img alt="{escape(about["image"]["alt"])}" src="{source}">'
                    raw = nodes.raw("", f'<div class="mlip-card">{html}</div>', format="html")
                    caption, _ = self.state.inline_text(about["figure"]["caption"], self.lineno)
                    return [nodes.figure("", raw, nodes.caption("", "", *caption))]
        raise self.error(f"no chapter has a figure {name!r}")


class ChapterMap(SphinxDirective):
    """Rows of boxes as inline SVG: each chapter below all that it builds on."""

    def run(self) -> list[nodes.Node]:
        paths = {number(path): path for path in notebooks.paths()}
        for path in paths.values():
            self.env.note_dependency(str(path))
        return [
            nodes.raw("", drawn(paths, {k: prerequisites(path) for k, path in paths.items()}), format="html")
        ]


def prerequisites(path: Path) -> list[int]:
    """Chapters named in the first column of the table under Objectives."""
    [row] = re.findall(r"^\| Prerequisites .*\n\|[-|]*\n\|(.*?)\|", _text(path), re.MULTILINE)
    return [int(found) for found in re.findall(r"<ch(\d\d)_", row)]


def _text(path: Path) -> str:
    cells = notebooks.read(path)["cells"]
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def nearest(chapter: int, needs: dict[int, list[int]]) -> list[int]:
    """Prerequisites that no other prerequisite builds on: the others are clear without an arrow."""

    def all_of(k: int) -> set[int]:
        return set(needs[k]).union(*(all_of(n) for n in needs[k]))

    return [a for a in needs[chapter] if not any(a in all_of(b) for b in needs[chapter])]


def drawn(paths: dict[int, Path], needs: dict[int, list[int]]) -> str:
    """SVG with a link for each chapter."""
    rows: dict[int, list[int]] = {}
    depth: dict[int, int] = {}
    for chapter in sorted(paths):  # prerequisites have smaller numbers
        depth[chapter] = max((depth[k] + 1 for k in needs[chapter]), default=0)
        rows.setdefault(depth[chapter], []).append(chapter)
    across = max(map(len, rows.values())) * (WIDE + GAP_X) - GAP_X
    place = {}
    for row, chapters in rows.items():
        left = (across - len(chapters) * (WIDE + GAP_X) + GAP_X) / 2
        for k, chapter in enumerate(chapters):
            place[chapter] = left + k * (WIDE + GAP_X), row * (HIGH + GAP_Y)
    lines = [
        f'<path d="M{place[a][0] + WIDE / 2:g} {place[a][1] + HIGH}C{place[a][0] + WIDE / 2:g} '
        f"{place[a][1] + HIGH + GAP_Y:g} {place[b][0] + WIDE / 2:g} {place[b][1] - GAP_Y:g} "
        f'{place[b][0] + WIDE / 2:g} {place[b][1]}"/>'
        for b in needs
        for a in nearest(b, needs)
    ]
    boxes = [
        f'<a href="{path.stem}.html">'
        f'<rect x="{place[k][0]:g}" y="{place[k][1]}" width="{WIDE}" height="{HIGH}" rx="8"/>'
        f'<text x="{place[k][0] + WIDE / 2:g}" y="{place[k][1] + 25}">{k}</text>'
        f'<text x="{place[k][0] + WIDE / 2:g}" y="{place[k][1] + 47}">{escape(SHORT[k])}</text></a>'
        for k, path in paths.items()
    ]
    tall = len(rows) * (HIGH + GAP_Y) - GAP_Y
    words = "; ".join(f"{k} builds on {', '.join(map(str, n))}" for k, n in needs.items() if n)
    return (
        f'<svg class="mlip-map" viewBox="-2 -2 {across + 4} {tall + 4}" role="img" '
        f'aria-label="Map of the chapters: {words}">{"".join(lines + boxes)}</svg>'
    )


def setup(app) -> dict:
    app.add_role("record", Record())
    app.add_directive("chapter-figure", ChapterFigure)
    app.add_directive("chapter-map", ChapterMap)
    return {"version": "1", "parallel_read_safe": True}
