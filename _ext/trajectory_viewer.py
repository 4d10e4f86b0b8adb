"""The directive ``chemiscope``: a trajectory in three dimensions, with a play bar and a plot linked to it.

    ```{chemiscope} animations/melting.json
    :alt: what moves and what it shows, one sentence

    The caption.
    ```

Chemiscope's own directive asks a CDN for a decompressor, and puts 3 MB of JavaScript on every page. This
one keeps the plain JSON inside its page, so that it also works from a file, and loads the JavaScript of
the installed package when the reader comes near the figure. Properties may belong to structures or to atoms;
`environments` may be left out.
"""

import json
import shutil
from html import escape
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

SCRIPT = Path(distribution("chemiscope").locate_file("chemiscope/sphinx/static/chemiscope.min.js"))

TEMPLATE = """<div class="mlip-card mlip-viewer" role="group" aria-label="{alt}" data-script="{script}">
<script type="application/json">{data}</script>
<div class="mlip-viewer-structure"><div id="{id}-structure"></div><div id="{id}-info"></div></div>
<div class="mlip-viewer-map"><div id="{id}-meta" hidden></div><div id="{id}-map"></div></div>
</div>
<script>
(() => {{
  const viewer = document.currentScript.previousElementSibling;
  const say = text => {{
    const message = document.createElement("p");
    message.textContent = text;
    viewer.prepend(message);
  }};
  const show = async () => {{
    const names = ["structure", "info", "meta", "map"];
    const places = Object.fromEntries(names.map(name => [name, "{id}-" + name]));
    const data = JSON.parse(viewer.querySelector("script").textContent);
    data.environments ??= data.structures.flatMap((structure, k) =>
      Array.from({{length: structure.size}}, (_, atom) => ({{structure: k, center: atom, cutoff: 4}})));
    try {{
      await Chemiscope.DefaultVisualizer.load(places, data, new Chemiscope.Warnings());
    }} catch (error) {{
      say("The animation needs WebGL, which this browser does not offer (" + error.message + ").");
    }}
  }};
  new IntersectionObserver((entries, observer) => {{
    if (!entries.some(entry => entry.isIntersecting)) return;
    observer.disconnect();
    const script = document.createElement("script");
    script.src = viewer.dataset.script;
    script.onload = show;
    document.head.append(script);
  }}, {{rootMargin: "400px"}}).observe(viewer);
}})();
</script>
"""


class Viewer(SphinxDirective):
    """A chemiscope data set (``.json``, its path relative to the page) with a caption."""

    required_arguments = 1
    has_content = True
    option_spec = {"alt": str}

    def run(self) -> list[nodes.Node]:
        relative, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        page = Path(self.env.app.builder.get_target_uri(self.env.docname))
        data = json.dumps(json.loads(Path(path).read_text()), separators=(",", ":"), allow_nan=False)
        html = TEMPLATE.format(
            alt=escape(self.options["alt"]),
            data=data.replace("<", "\\u003c"),
            id=Path(path).stem,
            script="../" * (len(page.parts) - 1) + f"chemiscope/{SCRIPT.name}",
        )
        caption = nodes.container(classes=["mlip-viewer-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        return [nodes.raw("", html, format="html"), caption]


def copy_script(app, error) -> None:
    """Beside the pages, not in a static path: Jupyter Book would run it on every page."""
    if error is None and app.builder.format == "html":
        target = Path(app.outdir, "chemiscope")
        target.mkdir(exist_ok=True)
        shutil.copy(SCRIPT, target)


def setup(app) -> dict:
    app.add_directive("chemiscope", Viewer)
    app.connect("build-finished", copy_script)
    return {"version": "1", "parallel_read_safe": True}
