"""Directives that write the status table and the claims ledger when the site is built; thebe switched off.

The tables come from the notebooks in the table of contents.
"""

from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from mlipbook.bookkit import pages


class GeneratedPage(SphinxDirective):
    """Markdown that a function makes from the stored chapters."""

    generate = staticmethod(pages.status)

    def run(self) -> list[nodes.Node]:
        chapters = sorted(name for name in self.env.found_docs if Path(name).name.startswith("ch"))
        paths = [Path(self.env.srcdir, f"{name}.ipynb") for name in chapters]
        for path in paths:
            self.env.note_dependency(str(path))
        self.env.note_reread()
        container = nodes.container()
        lines = self.generate(paths).splitlines()
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, container)
        return container.children


class RunTimes(GeneratedPage):
    """How long chapters take, and where they ran."""

    generate = staticmethod(pages.run_times)


class Ledger(GeneratedPage):
    """The claims ledger."""

    generate = staticmethod(pages.ledger)


def drop_thebe(app) -> None:
    """Unload sphinx-thebe, which Jupyter Book always loads: it names a CDN on every page, and fails there."""
    for listeners in app.events.listeners.values():
        listeners[:] = [entry for entry in listeners if "sphinx_thebe" not in entry.handler.__module__]


def setup(app) -> dict:
    app.add_directive("status-table", GeneratedPage)
    app.add_directive("claims-ledger", Ledger)
    app.add_directive("run-times", RunTimes)
    app.connect("builder-inited", drop_thebe, priority=1)
    return {"version": "1", "parallel_read_safe": True}
