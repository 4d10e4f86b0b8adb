"""The directive ``api-reference``: every public name with its signature and docstring (bookkit.reference).

Docstrings are plain text: paragraphs, indented code, lists of dashes, `code` between backticks. A public
name in a signature or between backticks is a link; an argument or field before a colon is set as code.
"""

import re
import sys
from pathlib import Path
from textwrap import dedent

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from mlipbook.bookkit import reference
from mlipbook.bookkit.results import REPOSITORY, ROOT

CODE = re.compile(r"``(.+?)``|`(.+?)`|\b(\w+)(?=:|, \w+:)|\b(Returns|Raises)\b", re.DOTALL)


def anchor(name: str) -> str:
    """Names that differ by case only are kept apart."""
    return "api-" + re.sub(r"[A-Z]", lambda letter: letter[0].lower() + "0", name).replace(".", "-").replace(
        "_", "-"
    )


def link(text: str, target: str) -> nodes.reference:
    place = {"refuri": target} if "." in target else {"refid": target}
    return nodes.reference("", text, internal=True, **place)


class Reference(SphinxDirective):
    """One section for each public module, under an index of all names."""

    def run(self) -> list[nodes.Node]:
        found = reference.sections()
        entries = [entry for _, section in found.values() for entry in section]
        self.anchors = {id(entry.value): anchor(entry.name) for entry in entries if entry.source}
        self.named = {name: anchor(e.name) for e in entries for name in (e.name, e.name.rpartition(".")[2])}
        names = sorted(name for name in self.env.found_docs if Path(name).name.startswith("ch"))
        paths = [Path(self.env.srcdir, f"{name}.ipynb") for name in names]
        for path in [*paths, *(ROOT / entry.source for entry in entries if entry.source)]:
            self.env.note_dependency(str(path))
        self.env.note_reread()
        self.used = reference.chapters_using(paths)
        index = [self.index(module, section) for module, (_, section) in found.items()]
        return [*index, *(self.module(module, *section) for module, section in found.items())]

    def index(self, module: str, entries: list[reference.Entry]) -> nodes.paragraph:
        line = nodes.paragraph("", "", nodes.strong("", "", link(module, anchor(module))), nodes.Text(": "))
        for k, entry in enumerate(entries):
            line += [nodes.Text(", ")] if k else []
            line += link(entry.name.rpartition(".")[2], anchor(entry.name if entry.source else module))
        return line

    def module(self, module: str, doc: str, entries: list[reference.Entry]) -> nodes.section:
        section = nodes.section("", nodes.title("", module), ids=[anchor(module)])
        section += self.text(dedent(f"    {doc}"), {})
        constants = "\n".join(entry.signature for entry in entries if not entry.source)
        section += [nodes.literal_block(constants, constants, language="none")] if constants else []
        section += [self.entry(entry) for entry in entries if entry.source]
        return section

    def entry(self, entry: reference.Entry) -> nodes.section:
        space = vars(sys.modules[entry.value.__module__])
        section = nodes.section("", nodes.title("", entry.name), ids=[anchor(entry.name)])
        known = set(re.findall(r"(\w+):", entry.signature))
        section += [self.signature(entry.signature, space), *self.text(entry.doc, space, known)]
        members = nodes.definition_list(classes=["mlip-members"])
        for member in entry.members:
            known = set(re.findall(r"(\w+):", member.signature))
            term = nodes.term("", "", self.signature(member.signature, space))
            about = nodes.definition("", *self.text(member.doc, space, known))
            members += nodes.definition_list_item("", term, about)
        section += [members] if entry.members else []
        place = f"{REPOSITORY}/blob/main/{entry.source}#L{entry.line}"
        about = nodes.paragraph(
            "", "", nodes.reference("", entry.source, refuri=place), classes=["mlip-note"]
        )
        for k, name in enumerate(self.used.get(id(entry.value), [])):
            about += [nodes.Text(", " if k else "; chapters "), link(str(int(name[2:4])), f"{name}.html")]
        section += about
        return section

    def signature(self, text: str, space: dict) -> nodes.paragraph:
        block = nodes.paragraph("", "", classes=["mlip-signature"])  # CSS keeps its lines and wraps long ones
        block["support_smartquotes"] = False
        for word in re.split(r"(\w+)", text):
            place = self.anchors.get(id(space.get(word, self))) if word[:1].isupper() else None
            block += link(word, place) if place else nodes.Text(word)
        return block

    def text(self, text: str, space: dict, known: set[str] = frozenset()) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for part in re.split(r"\n\s*\n|\n(?=- )", text.strip("\n")):
            if part.startswith("    "):
                found.append(nodes.literal_block(dedent(part), dedent(part), language="none"))
            elif part.startswith("- "):
                item = nodes.list_item("", nodes.paragraph("", "", *self.inline(part[2:], space, known)))
                if not found or not isinstance(found[-1], nodes.bullet_list):
                    found.append(nodes.bullet_list())
                found[-1] += item
            else:
                found.append(nodes.paragraph("", "", *self.inline(part, space, known)))
        return found

    def inline(self, text: str, space: dict, known: set[str]) -> list[nodes.Node]:
        text, found, at = re.sub(r"\s+", " ", text), [], 0
        for match in CODE.finditer(text):
            code = match[1] or match[2] or match[3]
            if match[3] and code not in known:
                continue
            found.append(nodes.Text(text[at : match.start()]))
            at = match.end()
            place = (
                self.anchors.get(id(space.get(code, self)), self.named.get(code)) if not match[3] else None
            )
            literal = nodes.literal("", code) if code else nodes.strong("", match[4])
            found.append(nodes.reference("", "", literal, refid=place, internal=True) if place else literal)
        return [*found, nodes.Text(text[at:])]


def setup(app) -> dict:
    app.add_directive("api-reference", Reference)
    return {"version": "1", "parallel_read_safe": True}
