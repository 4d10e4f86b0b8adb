"""MyST Markdown to what every notebook program shows: CommonMark, tables, dollar math, a few HTML tags.

The book's own parser (myst-parser) finds directives, roles and links, so that code and formulas are left
alone. What is not known here is refused.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from . import notebooks
from .results import REPOSITORY

SITE = "https://mlipbook.github.io/mlipbook"
BRANCH = "editions"  # to which the site's workflow pushes the editions: Colab opens GitHub only
FOLDER = {"reader": "book"}  # there; the site's Colab buttons keep the pages' folder
ADMONITIONS = ("note", "tip", "hint", "important", "warning", "caution", "seealso", "margin")
REFUSED = (
    "myst_target",
    "myst_block_break",
    "math_block_label",
    "substitution_block",
    "substitution_inline",
    "dl_open",
)


def page(name: str, anchor: str = "") -> str:
    """The address of a page of the published book."""
    return f"{SITE}/book/{name}.html" + (f"#{anchor}" if anchor else "")


def colab(edition: str, name: str) -> str:
    """The address of a chapter's edition in Colab."""
    repository = REPOSITORY.removeprefix("https://github.com/")
    place = f"{repository}/blob/{BRANCH}/{FOLDER.get(edition, edition)}/{name}.ipynb"
    return f"https://colab.research.google.com/github/{place}"


@dataclass(frozen=True)
class Directive:
    """A fenced directive, and the lines of its source that it stands on."""

    name: str
    argument: str
    options: dict[str, str]
    body: str
    lines: tuple[int, int]


@cache
def _parser() -> Any:
    from markdown_it.renderer import RendererHTML
    from myst_parser.config.main import MdParserConfig
    from myst_parser.parsers.mdit import create_md_parser

    extensions = {"amsmath", "colon_fence", "deflist", "dollarmath", "substitution"}
    return create_md_parser(MdParserConfig(enable_extensions=extensions), RendererHTML)


def directives(text: str) -> list[Directive]:
    """The directives of a Markdown text, in order. Raises ValueError for one inside a list or a quotation."""
    found = []
    for token in _parser().parse(text):
        match = re.match(r"\{([^}]+)\} *(.*)", token.info)
        if token.type not in ("fence", "colon_fence") or not match:
            continue
        if token.level:
            raise ValueError(f"directive {match[1]} inside a list or quotation; put it at the left margin")
        lines, options = token.content.splitlines(), {}
        while lines and (option := re.match(r":([\w-]+): *(.*)", lines[0])):
            options[option[1]] = option[2]
            del lines[0]
        body = "\n".join(lines).strip()
        found.append(Directive(match[1], match[2].strip(), options, body, tuple(token.map)))
    return found


def lower(text: str, book: "Book", chapter: str) -> str:
    """Plain Markdown with the same content, for a notebook that holds `chapter`.

    Raises ValueError for directives, roles and other MyST that have no plain form here.
    """
    lines: list[str] = text.splitlines()
    for token in _parser().parse(text):
        if token.type in REFUSED:
            raise ValueError(f"{chapter}: no plain Markdown for {token.type} in {text[:60]!r}")
        if token.type == "amsmath":
            start = token.map[0]
            end = start + token.content.strip().count("\n")  # the map of this token is a line short
            lines[start], lines[end] = "$$\n" + lines[start], lines[end] + "\n$$"
        for child in token.children or []:
            start, end = token.map or (0, len(lines))
            for old, new in _inline(child, book, chapter):
                lines[start:end] = "\n".join(lines[start:end]).replace(old, new).split("\n")
    for directive in reversed(directives(text)):
        start, end = directive.lines
        lines[start:end] = _block(directive, book, chapter).split("\n")
    return "\n".join(lines)


def _block(directive: Directive, book: "Book", chapter: str) -> str:
    """An admonition as a quotation with a bold title; an animation as a link to where it plays."""
    body = lower(directive.body, book, chapter)
    if directive.name == "chemiscope":
        place = page(chapter)
        body = f"**Animation.** {body} [Play it in the book]({place})."
    elif directive.name in (*ADMONITIONS, "admonition"):
        title = directive.argument or {"margin": "Aside", "seealso": "See also"}.get(directive.name)
        body = f"**{title or directive.name.capitalize()}.** {body}"
    else:
        raise ValueError(f"{chapter}: no plain Markdown for the directive {directive.name!r}")
    return "\n".join(f"> {line}".rstrip() for line in body.split("\n"))


def _inline(token: Any, book: "Book", chapter: str) -> list[tuple[str, str]]:
    """What stands in the source for a role or a link of the book, and what is to stand there."""
    if token.type == "myst_role":
        name, content = token.meta["name"], token.content
        return [(f"{{{name}}}`{content}`", _role(name, content, book, chapter))]
    target = str(token.attrs.get("href", token.attrs.get("src", "")))
    if token.type not in ("link_open", "image") or re.match(r"https?:|#|mailto:", target):
        return []
    file, _, anchor = target.partition("#")
    if Path(file).stem not in book.pages:
        raise ValueError(f"{chapter}: {target!r} is no page of the book")
    return [(f"]({target})", f"]({page(Path(file).stem, anchor)})")]


def _role(name: str, content: str, book: "Book", chapter: str) -> str:
    match = re.fullmatch(r"(.*?) *<(.+)>", content, re.DOTALL)
    text, target = (match[1], match[2]) if match else (content, content)
    if name == "doc" and target in book.pages:
        return f"[{text if match else book.pages[target]}]({page(target)})"
    if name in ("numref", "ref") and target in book.labels:
        label, home = book.labels[target]
        return f"[{label}]({f'#{target}' if home == chapter else page(home, target)})"
    if name == "term":
        anchor = "term-" + re.sub(r"[^\w.]+", "-", target, flags=re.ASCII).strip("-")
        return f"[{text}]({page('glossary', anchor)})"
    if name.partition(":")[0] == "cite":
        return book.cite(name, content, chapter)
    raise ValueError(f"{chapter}: no plain Markdown for {{{name}}}`{content}`")


@dataclass(frozen=True)
class Book:
    """What text refers to: pages with their titles, numbered labels with their chapter, the bibliography."""

    pages: dict[str, str]
    labels: dict[str, tuple[str, str]]
    bibliography: dict[str, Any]

    def cite(self, role: str, keys: str, chapter: str) -> str:
        """Authors and year, linked to the paper, or to the book's bibliography where it has no address."""
        found = []
        for key in keys.split(","):
            if key.strip() not in self.bibliography:
                raise ValueError(f"{chapter}: references.bib has no {key.strip()!r}")
            entry = self.bibliography[key.strip()]
            names, year, fields = _authors(entry), entry.fields.get("year", "n.d."), entry.fields
            doi = f"https://doi.org/{fields['doi']}" if "doi" in fields else ""
            place = doi or fields.get("url") or page("bibliography")
            text = {"cite:authors": names, "cite:t": f"{names} ({year})"}.get(role, f"{names}, {year}")
            found.append(f"[{text}]({place})")
        return ", ".join(found) if role in ("cite:authors", "cite:t") else f"({'; '.join(found)})"


def _authors(entry: Any) -> str:
    from pybtex.richtext import Text

    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [str(Text.from_latex(" ".join(p.prelast_names + p.last_names))) for p in people]
    if len(names) > 2 or "others" in names:
        return f"{names[0]} et al."
    return " and ".join(names) or str(Text.from_latex(entry.fields["title"]))


def prefix(path: Path) -> str:
    """What figures and exercises of a chapter are numbered by, "6."; empty for a page that is no chapter."""
    found = re.match(r"ch(\d+)", path.stem)
    return f"{int(found[1])}." if found else ""


def read_book(root: Path = notebooks.ROOT) -> Book:
    """The book in a repository: figures, exercises and equations are numbered by chapter."""
    from pybtex.database import parse_file

    pages, labels = {}, {}
    for file in [*(root / "book").glob("*.md"), *(root / "book").glob("*.ipynb")]:
        text = notebooks.read(file)["cells"][0]["source"] if file.suffix == ".ipynb" else file.read_text()
        title = re.search(r"^# +(.+)$", text, re.MULTILINE)
        pages[file.stem] = title[1] if title else file.stem
    for path in sorted((root / "book").glob("*.ipynb")):
        figures = exercises = 0
        for cell in notebooks.read(path)["cells"]:
            if name := cell["metadata"].get("mystnb", {}).get("figure", {}).get("name"):
                figures += 1
                labels[name] = (f"Fig. {prefix(path)}{figures}", path.stem)
            for item in directives(cell["source"]) if cell["cell_type"] == "markdown" else []:
                if item.name == "exercise":
                    exercises += 1
                    labels[item.options["label"]] = (f"Exercise {prefix(path)}{exercises}", path.stem)
    return Book(pages, labels, dict(parse_file(root / "references.bib").entries))
